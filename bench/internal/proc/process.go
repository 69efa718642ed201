// Package proc starts the servers of a measurement and tells what they cost: CPU time, memory and disk, from /proc and the file system.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	Name string // in errors
	Path string
	Args []string
	Dir  string
	Env  []string       // beside that of this process
	User *User          // nil: who this process is
	Stop syscall.Signal // ends it and its children in good order; 0: SIGTERM
}

// User is somebody to run as.
type User struct{ UID, GID uint32 }

// A Process is a server that runs.
type Process struct {
	spec  Spec
	cmd   *exec.Cmd
	said  tail
	ended chan struct{}
	err   error // after ended
}

// grace is how long a server may take to end. Databases write out what they hold.
const grace = 20 * time.Second

// Start starts a process. It ends with this one: Stop ends it in good order, and the kernel sends the same signal if this process dies without.
// It is in a group of its own, so that Ctrl-C reaches only this process, which then stops all others.
func Start(s Spec) (*Process, error) {
	if s.Stop == 0 {
		s.Stop = syscall.SIGTERM
	}
	p := &Process{spec: s, ended: make(chan struct{})}
	p.cmd = exec.Command(s.Path, s.Args...) //nolint:gosec,noctx // the peers of a measurement, which end by a signal of their own
	p.cmd.Dir, p.cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.WaitDelay = time.Second // for children that outlive it and hold its output open
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: s.Stop, Setpgid: true}
	if s.User != nil {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.User.UID, Gid: s.User.GID}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Listening waits until something accepts connections at the address, which is a TCP address, or the path of a socket.
func (p *Process) Listening(addr string, within time.Duration) error {
	network := "tcp"
	if addr[0] == '/' {
		network = "unix"
	}
	limit, again := time.NewTimer(within), time.NewTicker(10*time.Millisecond)
	defer limit.Stop()
	defer again.Stop()
	for {
		c, err := net.DialTimeout(network, addr, time.Second) //nolint:noctx // loopback
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at once: %w\n%s", p.spec.Name, p.err, p.said.text())
		case <-limit.C:
			return fmt.Errorf("%s does not listen on %s: %w\n%s", p.spec.Name, addr, err, p.said.text())
		case <-again.C:
		}
	}
}

// Alive is an error if the process has ended by itself.
func (p *Process) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %w\n%s", p.spec.Name, p.err, p.said.text())
	default:
		return nil
	}
}

// Pause takes the processor from it, and from its children that are in its group, until Resume. If this process dies without Stop, the kernel resumes them.
func (p *Process) Pause() error { return p.signalGroup(syscall.SIGSTOP) }

// Resume ends a pause. Without one it does nothing.
func (p *Process) Resume() error { return p.signalGroup(syscall.SIGCONT) }

func (p *Process) signalGroup(s syscall.Signal) error {
	if err := p.Alive(); err != nil {
		return err
	}
	if err := syscall.Kill(-p.PID(), s); err != nil {
		return fmt.Errorf("sending %s to %s: %w", s, p.spec.Name, err)
	}
	return nil
}

// Stop ends it, and returns when it has ended. One that had ended before, or does not end in time, is an error.
func (p *Process) Stop() error {
	if err := p.Resume(); err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(p.spec.Stop); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.spec.Name, err)
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-p.ended:
		return nil
	case <-limit.C:
		_ = p.cmd.Process.Kill() // what is left of it is of no use any more
		<-p.ended
		return fmt.Errorf("%s did not stop within %s\n%s", p.spec.Name, grace, p.said.text())
	}
}

// FreePort finds a port of the loopback that nobody listens on.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail keeps the last of what a process says, for an error that may come.
type tail struct {
	mu   sync.Mutex // the process writes while an error is put together
	last []byte
}

const tailSize = 4 << 10

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if n := len(t.last) - tailSize; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
