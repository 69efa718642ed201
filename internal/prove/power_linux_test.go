package prove_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount has the file system at dir, until the function is called that it returns.
func (p *power) mount(dir string) (unmount func() error, err error) {
	server, err := fuse.NewServer(p, dir, &fuse.MountOptions{DirectMountStrict: true, FsName: "poe-power", Name: "power", DisableXAttrs: true, DisableReadDirPlus: true, MaxWrite: 1 << 17})
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return server.Unmount, server.WaitMount()
}

// needsFUSE leaves a test out, loudly, where nothing can be mounted; make prove, and whoever sets POE_FUSE=required, has it fail instead.
func needsFUSE(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	unmount, err := newPower(nil).mount(dir)
	if err == nil {
		err = unmount()
	}
	switch {
	case err == nil:
	case long() || os.Getenv("POE_FUSE") == "required":
		t.Fatalf("power cuts of the real binary need /dev/fuse and the right to mount, as root has it: %v", err)
	default:
		t.Skipf("LEFT OUT: THE POWER IS NOT CUT. It takes /dev/fuse and the right to mount, as root has it: %v", err)
	}
}

// An outage is one ledger, the disk that it is on, and the power cuts that both live through.
type outage struct {
	random *rand.Rand
	judge  *judge
	*witness
	config, dir string
	disk        *power
}

// serve starts the program on the disk, has f use it, and returns when it has ended. Before f returns it cuts the power off.
func (o *outage) serve(f func(p *process) *power) error {
	o.dark.Store(false)
	unmount, err := o.disk.mount(o.dir)
	if err != nil {
		return err
	}
	program, err := plain()
	if err != nil {
		return err
	}
	p, err := launch(program, nil, "serve", "--config", o.config, "--store", "pebble:"+o.dir+"/ledger")
	if err == nil && p.url == "" {
		err = fmt.Errorf("it does not start after a power cut:\n%s", strings.Join(p.said, "\n"))
	}
	if err == nil {
		o.disk = f(p)
	}
	if p != nil {
		p.kill()
	}
	o.client.CloseIdleConnections()
	if e := unmount(); err == nil {
		err = e
	}
	return err
}

// cut has clients work, and cuts the power off.
func (o *outage) cut(ctx context.Context) error {
	return o.serve(func(p *process) *power {
		work, stop := context.WithCancel(ctx)
		defer stop()
		left := make(chan *power, 1)
		luck := o.random
		if o.random.IntN(3) == 0 {
			luck = nil
		}
		time.AfterFunc(time.Duration(5+o.random.IntN(150))*time.Millisecond, func() {
			o.dark.Store(true)
			left <- o.disk.cut(luck)
			p.kill()
			stop()
		})
		o.busy(work, p.url, 4)
		return <-left
	})
}

// look asks about everything.
func (o *outage) look(ctx context.Context, e *ear) (v *verdict, wrong []string, err error) {
	err = o.serve(func(p *process) *power {
		v, wrong = o.verify(ctx, p.url, o.judge, e)
		return o.disk
	})
	return v, wrong, err
}

// The real binary, on a disk that loses what was not synced, whenever the power is cut off; sometimes all of it, sometimes some. What was acknowledged is there,
// and nothing is executed twice.
func TestPowerCuts(t *testing.T) {
	needsFUSE(t)
	began, random := time.Now(), seeded(t)
	j, e := newJudge(), newEar()
	app, receiver := httptest.NewServer(j), httptest.NewServer(e)
	defer app.Close()
	defer receiver.Close()
	config := settings(t, app.URL, receiver.URL, "")
	ledgers, cuts := form{20, 2, 1}.size(), form{50, 12, 3}.size()
	deeds, acked := 0, 0
	for i := range ledgers {
		o := &outage{
			random: random, judge: j, witness: newWitness(fmt.Sprintf("powered-%d", i), receiver.URL+"/hook", "poe", "key", "async"),
			config: config, dir: t.TempDir(), disk: newPower(nil),
		}
		for range cuts {
			if err := o.cut(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		v, wrong, err := o.look(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wrong {
			t.Error(w)
		}
		deeds += len(o.all)
		acked += v.acked
	}
	if acked < ledgers*cuts {
		t.Errorf("%d actions, %d acknowledged: too little was going on to prove anything", deeds, acked)
	}
	publish(t, began, figure{
		Proof:  "power cuts of the real binary",
		Sample: fmt.Sprintf("%d power cuts on FUSE; %d actions, %d acknowledged", ledgers*cuts, deeds, acked),
		Result: "0 executed twice, 0 acknowledged outcomes lost",
	})
}

// The same on disks that say that they have synced, and have not, must lose something, or the test above shows nothing.
func TestPowerCutsWithoutSync(t *testing.T) {
	needsFUSE(t)
	began, random := time.Now(), seeded(t)
	j, e := newJudge(), newEar()
	app := httptest.NewServer(j)
	defer app.Close()
	config := settings(t, app.URL, "http://127.0.0.1:1", "")
	lost := 0
	for _, tt := range []struct {
		name string
		lies func(name string, folder bool) bool
	}{
		{"log", func(name string, _ bool) bool { return strings.HasSuffix(name, ".log") }},
		{"folders", func(_ string, folder bool) bool { return folder }},
	} {
		o := &outage{random: random, judge: j, witness: newWitness("lost in "+tt.name, "", "poe"), config: config, dir: t.TempDir(), disk: newPower(nil)}
		// The ledger is made on an honest disk: what is lost is what the clients were told.
		if err := o.serve(func(*process) *power { return o.disk.cut(nil) }); err != nil {
			t.Fatal(err)
		}
		o.disk.lies = tt.lies
		var wrong []string
		for range (form{12, 12, 8}).size() { // by chance a cut may lose nothing; the first that does is enough
			err := o.cut(t.Context())
			if err == nil {
				_, wrong, err = o.look(t.Context(), e)
			}
			if err != nil { // what is left is no ledger
				wrong = append(wrong, err.Error())
			}
			if len(wrong) > 0 {
				break
			}
		}
		if len(wrong) == 0 {
			t.Errorf("%s: nothing was lost on a disk that does not sync", tt.name)
			continue
		}
		lost += len(wrong)
		t.Logf("%s: %d losses, such as: %.300s", tt.name, len(wrong), wrong[0])
	}
	publish(t, began, figure{Proof: "control: disks that do not sync", Sample: "a log, and folders, that are said to be synced and are not", Result: fmt.Sprintf("%d losses found", lost)})
}
