package replay

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/loglimit"
)

// Defaults of a SpoolConfig, in bytes.
const (
	DefaultMemory = 64 << 20
	DefaultDisk   = 1 << 30
)

// SpoolConfig bounds a Spool. A zero field has the default in its comment; a negative one means none at all.
type SpoolConfig struct {
	Dir    string // for temporary files; "": os.TempDir()
	Memory int64  // of all bodies together, in bytes; 64 MiB
	Disk   int64  // of all bodies together, in bytes; 1 GiB
	Files  int64  // of all bodies together, each open while its body is there; as many as the system lets the process have

	Clock func() time.Time // time.Now
	Log   zerolog.Logger   // nothing is logged
}

// A Spool holds the bodies that are on their way, in either direction: short ones in memory, long ones in temporary files that
// are unlinked before anything is written to them, so that neither a crash nor a leak leaves a byte behind; a crash between making
// one and unlinking it leaves an empty file. However many bodies there are, together they never hold more than the two budgets. It
// is safe for concurrent use.
type Spool struct {
	dir     string
	memory  budget
	disk    budget
	files   budget
	scratch sync.Pool // of *[chunk]byte, for copying

	clock   func() time.Time
	log     zerolog.Logger
	trouble atomic.Pointer[error] // why the system did not take the last body that was to lie in a file; nil: it did
	said    loglimit.Line         // that
}

// chunk is how much is copied at a time, in bytes.
const chunk = 32 << 10

// NewSpool returns an empty spool. It fails if cfg.Dir does not take a file now.
func NewSpool(cfg SpoolConfig) (*Spool, error) {
	if cfg.Dir == "" {
		cfg.Dir = os.TempDir()
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Disk == 0 {
		cfg.Disk = DefaultDisk
	}
	if cfg.Files == 0 {
		cfg.Files = math.MaxInt64
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now //nolint:forbidigo // the default of the Config
	}
	s := &Spool{dir: cfg.Dir, clock: cfg.Clock, log: cfg.Log}
	s.scratch.New = func() any { return new([chunk]byte) }
	s.memory.limit, s.disk.limit, s.files.limit = max(cfg.Memory, 0), max(cfg.Disk, 0), max(cfg.Files, 0)
	f, err := s.tempFile()
	if err != nil {
		return nil, fmt.Errorf("checking spool folder %q: %w", cfg.Dir, err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("checking spool folder %q: %w", cfg.Dir, err)
	}
	return s, nil
}

// New returns an empty body. It holds nothing of the spool until it is written to.
func (s *Spool) New() *Body { return &Body{spool: s} }

// Usage returns how many bytes of memory and of disk the bodies hold now.
func (s *Spool) Usage() (memory, disk int64) { return s.memory.held.Load(), s.disk.held.Load() }

// HoldFile takes one of the files that bodies may have, for one that is not in the spool and is read from its file, and tells whether there was one. GiveFile gives it back.
func (s *Spool) HoldFile() bool { return s.files.take(1) }

// GiveFile gives back what HoldFile took.
func (s *Spool) GiveFile() { s.files.give(1) }

// Trouble is why the system did not take the last body that was to lie in a file, as where the temporary folder is full or gone; nil: it did.
func (s *Spool) Trouble() error {
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// failed notes, and says now and then, why the system did not take a body. To whoever sent it this is a spool that is full, as for many bodies at one time.
func (s *Spool) failed(err error) {
	s.trouble.Store(&err)
	s.said.Limit(s.log.Error(), s.clock()).Err(err).Str("folder", s.dir).Msg("the temporary folder takes no bodies: large requests get 503, and large answers are not kept")
}

// took notes that the system took a body.
func (s *Spool) took() {
	if s.trouble.Load() != nil {
		s.trouble.Store(nil)
	}
}

// tempFile returns an open file that only its owner could ever read and that has no name any more.
func (s *Spool) tempFile() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, "poe-spool-*") // created 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A budget is a number of bytes, or files, that is shared out. What take gave must come back by give, once.
type budget struct {
	limit int64
	held  atomic.Int64
}

func (b *budget) take(n int64) bool {
	for {
		held := b.held.Load()
		if n > b.limit-held {
			return false
		}
		if b.held.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

func (b *budget) give(n int64) { b.held.Add(-n) }
