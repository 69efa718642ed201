package prove_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A guard is a line of the program that keeps a promise, and the test that must turn red without it.
type guard struct {
	name     string
	file     string // of the repository
	with     string // the guard, as it stands in file, once
	without  string // the program without it, which must still compile
	pkg, red string // the test that must fail
}

const (
	stores  = "internal/store/"
	pebbles = "internal/store/pebblestore/"
	engine  = "internal/poe/"
	hop     = "internal/gateway/"
)

// guards are taken away one at a time.
var guards = []guard{
	{"a write is synced", pebbles + "commit.go", "b.Commit(pebble.Sync)", "b.Commit(pebble.NoSync)", pebbles, "TestCrashAtEveryWrite"},
	{"a body is synced before its record", pebbles + "bodies.go", "if err := smooth.Sync(); err != nil {", "if err := error(nil); err != nil {", pebbles, "TestCrashAtEveryWrite"},
	{"a body's entry is synced before its record", pebbles + "bodies.go",
		"return n, syncDir(s.c.FS, s.shelves.folder(id.Shelf()))", "return n, nil", pebbles, "TestCrashAtEveryWrite"},
	{"a write holds its stripes", pebbles + "write.go", "\ts.stripes.lock(w.set)\n\tdefer s.stripes.unlock(w.set)\n", "", pebbles, "TestStore/race"},
	{"a reader waits for the sync in flight", pebbles + "read.go",
		"\tm := &s.stripes[stripeOfID(id)]\n\tm.RLock()\n\tdefer m.RUnlock()\n", "", pebbles, "TestLookupWaitsForSync"},
	{"what is known to be absent was not written", pebbles + "fresh.go", "!f.young.has(id) && !f.old.has(id)", "(true || f.young.has(id))", pebbles, "TestWhatIsNoLongerRememberedIsNotAbsent"},
	{"an id that is taken is not claimed", stores + "decide.go", "\tcase held.State != Unused:\n\t\treturn held, ErrTaken\n", "", stores + "memstore/", "TestStore/claim"},
	{"a name that is taken is not claimed", stores + "decide.go",
		"\t\t\tif err == nil && slices.Contains(holder.Names, n) {\n", "\t\t\tif err == nil && holder.State == Absent {\n", stores + "memstore/", "TestStore/names"},
	{"a claim compares the expiry", stores + "decide.go", "if !r.Expires.IsZero() && !now.Before(r.Expires.Add(Skew)) {", "if false {", stores + "memstore/", "TestStore/claim"},
	{"a write compares the term", stores + "decide.go", "\tcase held.Term != w.Was:\n\t\treturn held, ErrStale\n", "", stores + "memstore/", "TestStore/advance"},
	{"a repeated write finds its own term", stores + "decide.go",
		"\tcase held.Term == r.Term:\n\t\treturn held, nil\n\tcase held.State != Unused:", "\tcase held.State != Unused:", stores + "memstore/", "TestStore/claim"},
	{"time is not behind the floor", stores + "clock.go", "\tif now.Before(floor) {", "\tif now.IsZero() {", stores, "TestClock"},
	{"the ledger's time does not pass the true one", stores + "clock.go", "(passed - c.slew.at) / 2)", "(passed - c.slew.at) * 2)", stores, "TestFloorDoesNotPassTheTime"},
	{"what was told of the time stays", stores + "clock.go", "back > 0 && back <= tolerance", "back > 0 && back <= 0*tolerance", stores, "TestTimeThatWasToldStays"},
	{"gate and ledger go by one clock", engine + "gate.go", "cfg.Store.Clock(),", "store.NewClock(cfg.Clock, floor.Time),", engine, "TestNeverUsedStays"},
	{"nobody who was left behind begins an answer", engine + "engine.go", "\tdefer end.recorder.End() ", "\tdefer func() {}() ", engine, "TestStreamAfterTheHandler"},
	{"what a handler asks for with a copy of its request is guarded", engine + "handler.go", "\tcase otherKey && ", "\tcase false && otherKey && ", engine, "TestCopiedWithin"},
	{"the claim is durable before the request is sent", engine + "engine.go",
		"\tgot, err := g.writeClaim(ctx, r)\n\tif err != nil && !store.Refused(err) {",
		"\tlater := *r\n\ttime.AfterFunc(20*time.Millisecond, func() { _, _ = g.store.Claim(ctx, &later) })\n\tgot, err := r, error(nil)\n\tif err != nil && !store.Refused(err) {", engine, "TestOrderOfOneExecution"},
	{"the claim is durable before the request is sent, in the real binary", engine + "engine.go",
		"\tgot, err := g.writeClaim(ctx, r)\n\tif err != nil && !store.Refused(err) {",
		"\tlater := *r\n\ttime.AfterFunc(20*time.Millisecond, func() { _, _ = g.store.Claim(ctx, &later) })\n\tgot, err := r, error(nil)\n\tif err != nil && !store.Refused(err) {", "internal/prove/", "TestKillPoints"},
	{"the outcome is durable before the answer", engine + "engine.go", "\tend.status.is(g.advance(ctx, claimed, next))\n",
		"\twas, later := *claimed, *next\n\ttime.AfterFunc(20*time.Millisecond, func() { g.advance(ctx, &was, &later) })\n\tend.status.is(phaseOf(next.State), next)\n", engine, "TestOrderOfOneExecution"},
	{"a token of the wrong time is still its principal's", "internal/bearer/bearer.go", "if late != nil && !untimely(late) {", "if late != nil {", engine, "TestSameRequestAfterItsTokenExpired"},
	{"a token of the wrong time is shown nothing", engine + "principal.go", "return (a.doubt == nil || !a.doubt.untimely) && subtle", "return subtle", engine, "TestNamedAlikeAndShownNothing"},
	{"a user's name proves nothing", engine + "principal.go", "\tif is.proof != nil {", "\tif false {", engine, "TestNamedAlikeAndShownNothing"},
	{"the application is asked at the host of the answer", engine + "authorize.go", "out.Pattern, out.Host = http.MethodGet, a.route.Authorize, \"\", a.host", "out.Pattern = http.MethodGet, a.route.Authorize, \"\"",
		engine, "TestAuthorizationAtTheHostOfTheAnswer"},
	{"no client takes anything back", "internal/serve/serve.go", " || s.gate.TakesBack(w, r)", "", "internal/serve/", "TestClientsCompensateNothing"},
	{"an accepted action is marked before it is sent", engine + "async.go",
		"next.State, next.Term, next.Due = store.Sent, g.newTerm(), now.Add", "next.State, next.Term, next.Due = store.Queued, g.newTerm(), now.Add", engine, "TestAsync"},
	{"the execution is detached from the client", engine + "answer.go", "ctx := context.WithoutCancel(c.r.Context())", "ctx := context.Context(c.r.Context())", engine, "TestClientLeaves"},
	{"an action is released only on proof", engine + "engine.go", "\tcase end.proof == replay.Unsent:\n\t\treturn store.Unused\n", "\tcase end.proof != replay.Complete:\n\t\treturn store.Unused\n", engine, "TestProofs"},
	{"a panic proves nothing", engine + "engine.go", "end.proof, end.answer, end.panicked = replay.Broken, nil,", "end.proof, end.answer, end.panicked = replay.Unsent, nil,", engine, "TestPanicOfAHandler"},
	{"the request is whole before it is claimed", engine + "body.go", "switch err := c.readBody(); {\n\tcase err == nil && c.digestsMatch(c.body):", "switch err := c.readBody(); {\n\tcase err != replay.ErrTooLarge:", engine, "TestBodyCutOff"},
	{"a claim that nobody confirmed is not executed", engine + "engine.go", "\t\treturn got, fmt.Errorf(\"%w: %w\", store.ErrUnavailable, err)\n", "\t\treturn r, nil\n", engine, "TestLedgerTrouble"},
	{"a stored answer is what was stored", engine + "outcome.go", "if n != b.Size || [32]byte(h.Sum(nil)) != b.Digest {", "if n != b.Size {", engine, "TestDamagedAnswer"},
	{"what lost its owner is unknown", engine + "recovery.go", "if r.State != store.Running || r.Way != store.Marked || g.outdated(&r) {", "if r.State != store.Running {", engine, "TestRecovery"},
	{"what recovers is leased", engine + "rescue.go", "if _, err := g.writeAdvance(ctx, &r, &leased, store.Also{}); err != nil { // it",
		"if err != nil { // it", engine, "TestRepeatByOneOfMany"},
	{"what was forgotten by a restore is not claimed", pebbles + "write.go", "if id.Minted().Before(s.meta.restored) {", "if false {", pebbles, "TestBackupAndRestore"},
	{"a ledger that is older than it was is refused", pebbles + "guard.go", "case m.restored.Before(k.restored), m.sequence < k.sequence:", "case m.restored.Before(k.restored):", pebbles, "TestNotWhatItWas"},
	{"a MANIFEST that lost an edit is noticed", pebbles + "intact.go", "if first > next {", "if first > next && next == 0 {", pebbles, "TestManifest"},
	{"what may have been forgotten is not claimed by a name that says its age", stores + "decide.go",
		"!v.Forgotten(r.Door, r.Route).Before(r.Since)", "v.Forgotten(r.Door, r.Route).After(now)", engine, "TestRepeatableAfterRetentionIsRaised"},
	{"a clock that leapt forgets nothing", pebbles + "sweep.go", "\tif s.clock.Ahead() > 0 {\n\t\treturn store.Swept{}, nil\n\t}\n", "", stores + "pebblestore/", "TestStore/durable"},
	{"a sweep waits for what was decided before it", pebbles + "sweep.go", "\ts.gate.Lock()\n\ts.gate.Unlock() //nolint", "\t//nolint", pebbles, "TestSweepAmongSlowWrites"},
	{"a sweep leaves what is open", pebbles + "sweep.go", "if err != nil || t.State.Open() {", "if err != nil || t.State == store.Running {", pebbles, "TestStore/sweep"},
	{"what a record refers to is not discarded", pebbles + "discard.go", "case err == nil && r.RefersTo(at.part):", "case err == nil && r.ID.IsZero():", pebbles, "TestStore/bodies"},
	{"a backup keeps the bodies of what it has copied", pebbles + "backup.go",
		"\ts.keeping.Lock() // the bodies of what is in the copy must stay\n\tdefer s.keeping.Unlock()\n", "", pebbles, "TestDiscardDuringBackup"},
	{"a body is discarded once it is known that its record has let go of it", engine + "write.go",
		"\tif err == nil && got.Request.Where != store.Beside {\n", "\tif got.Request.Where != store.Beside {\n", engine, "TestUnknownWriteDiscardsNothing"},
	{"a sweep leaves the names of what is open", pebbles + "sweep.go", "return found, found || i < len(k.ids) || !k.more", "return found, i >= 0", pebbles, "TestSweepKeepsMany"},
	{"a sweep leaves a name that was claimed anew", pebbles + "sweepleads.go", "isName && !bytes.Equal(value, l.id[:])", "isName && value == nil", pebbles,
		"TestSweepLeavesNamesThatAreClaimedAnew"},
	{"the hop repeats nothing of which a byte left", hop + "execute.go", "if proof == replay.Unsent && c.reused && ctx.Err() == nil {", "if proof != replay.Complete && c.reused && ctx.Err() == nil {", hop, "TestFirstByte"},
	{"the transport takes no key for leave to repeat", hop + "proxy.go", "\tpinKeys(pr.Out.Header)\n", "", hop, "TestProxyRepeatsNothingUnsafe"},
	{"content that a 204 announces answers nobody", hop + "answer.go", "return odd || resp.Close", "return odd && resp.Close || resp.Close", hop, "TestNoContentWithContent"},
	{"half an answer through a proxy is none where no client waits", engine + "handler.go", "if v == nil && key == http.ServerContextKey {", "if v != nil && key == http.ServerContextKey {", "", "TestAcceptedBehindAReverseProxy"},
	{"a copy that fails before it begins is no answer", "internal/replay/recorder.go", "\treturn r.cfg.Spool.copyIn(r.writeChunk, src, math.MaxInt64)\n",
		"\tr.WriteHeader(http.StatusOK)\n\treturn r.cfg.Spool.copyIn(r.writeChunk, src, math.MaxInt64)\n", "", "TestCopyThatFailsBeforeItBegins"},
	{"a small body is not compared for minutes", "internal/content/digest.go", "if n == maxParts || lines > 10*maxParts {", "if n == 1<<30 || lines < 0 {", engine, "TestManyPartsAreComparedInTime"},
	{"nobody anonymous is taken for another", engine + "etag.go", "a.mine, a.alike = false, o.method != http.MethodPost", "a.mine, a.alike = true, o.method != http.MethodPost", engine, "TestTagOfAnotherVisitor"},
	{"what was burned in doubt keeps its business key", engine + "names.go", "r.State == store.Burned && !burnedInDoubt(r) || endedUndone(r)", "r.State == store.Burned || endedUndone(r)", engine, "TestBurnInDoubtKeepsTheBusinessKey"},
	{"a person's word is not the engine's", engine + "async.go", `e.To == store.Done && e.Who == "engine" && `, "e.To == store.Done && ", engine, "TestDecisionInTheWordsOfTheEngine"},
	{"a person's word is not recovery's", engine + "compensate.go", `e.Who == "recovery" && strings.HasPrefix(e.Why, takenBackBy)`, "strings.HasPrefix(e.Why, takenBackBy)", engine, "TestLateAnswerToAcceptedAgain"},
	{"the client repeats no POST that nobody vouches for", "internal/client/post.go", "\tif !p.guarded && p.sent {", "\tif false {", "internal/client/", "TestMintedIsNotGuarded"},
}

// root is the repository, seen from this package.
const root = "../.."

// overlay writes what go build -overlay takes: the program without the guard. A guard that is not found has been moved or mended, and this
// list must follow it.
func (g *guard) overlay(dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join(root, g.file))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), g.with); n != 1 {
		return "", fmt.Errorf("%s: it is %d times in %s, and once is wanted:\n%s", g.name, n, g.file, g.with)
	}
	changed := filepath.Join(dir, "without.go")
	list := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), g.with, g.without, 1)), 0o600); err != nil {
		return "", err
	}
	return list, os.WriteFile(list, b, 0o600)
}

// missed runs the test without the guard, and says what is wrong if it does not fail.
func (g *guard) missed(t *testing.T, dir string) string {
	list, err := g.overlay(dir)
	if err != nil {
		return err.Error()
	}
	pattern := "^" + strings.ReplaceAll(g.red, "/", "$/^") + "$"
	cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-timeout=4m", "-overlay", list, "-run", pattern, "./"+g.pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "POE_OVERLAY="+list, "POE_FIGURES=", "POE_PROVE=")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("%s: %s", g.name, time.Since(began).Round(time.Second/10))
	name, _, _ := strings.Cut(g.red, "/")
	switch {
	case err == nil:
		return fmt.Sprintf("%s: %s%s does not notice that it is gone", g.name, g.pkg, g.red)
	case !regexp.MustCompile(`(?m)^\s*--- FAIL: ` + name + `\b|^panic: `).Match(out):
		return fmt.Sprintf("%s: %s%s did not run: %v\n%s", g.name, g.pkg, g.red, err, out)
	}
	return ""
}

// Without any of the guards, the test that is named for it fails. The short form takes a few of them, others every day, and looks whether all are
// where they were.
func TestGuardsMatter(t *testing.T) {
	began, random := time.Now(), seeded(t)
	for i := range guards {
		if _, err := guards[i].overlay(t.TempDir()); err != nil {
			t.Error(err)
		}
	}
	n := form{len(guards), 3, 0}.size()
	taken := n
	todo := make(chan *guard)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for g := range todo {
				if wrong := g.missed(t, t.TempDir()); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
	for _, i := range random.Perm(len(guards)) {
		if g := &guards[i]; taken == len(guards) || n > 0 && g.pkg != "internal/prove/" { // what runs the real binary takes a minute
			todo <- g
			n--
		}
	}
	close(todo)
	all.Wait()
	publish(t, began, figure{Proof: "guards matter", Sample: fmt.Sprintf("%d guards taken away, one at a time", taken), Result: "each turns the test that is named for it red"})
}
