package pebblestore

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/store"
)

// Config is what a Store is made of. Dir is required; a zero field has the default in its comment.
type Config struct {
	Dir       string           // the ledger's folder; made if it is not there
	FS        vfs.FS           // vfs.Default: the operating system's
	Clock     func() time.Time // time.Now
	Random    io.Reader        // crypto/rand.Reader
	Log       zerolog.Logger   // nothing is logged
	CacheSize int64            // memory for what was read, and for what was written and is in no table yet, in bytes; 80 MiB

	// MinFree is how much must be left on the disk, in bytes. Below it new claims are refused with store.ErrUnavailable, and Ready fails; what was claimed
	// is still settled. 0: 1 GiB, or a twentieth of the disk where that is less.
	MinFree uint64

	// HighWater is the file that says how far the ledger has come, so that one which is older than it was is refused: best on another disk. A
	// ledger that is moved to another folder needs its file there, or named. "": beside Dir, its name with ".high-water" behind it.
	HighWater string
	// Identity is the ledger that is meant, as its keys name it; zero: whichever is there, or a new one.
	Identity store.ID
	// AcceptLost ends Floor.Lost, for ever where a restore has begun it.
	AcceptLost bool

	// Fatal is called with the reason when the ledger can no longer be trusted, e.g. after a failed fsync, or cannot be opened. It must end
	// the process and not return; if it does return, the calling goroutine stops there for ever, nothing is
	// acknowledged, and calls may hang. The default logs the reason, or prints it where nothing is logged, and exits with status 1,
	// or 78 (EX_CONFIG) where what is stored is damaged: then to start again does not help.
	Fatal func(reason string)

	// Passes tells Check which names pass from one action to another (store.Also.Take): an action still lists one that was taken from it, and who has taken it
	// may have given it back, or be forgotten. nil: none do.
	Passes func(store.Name) bool

	opening *atomic.Bool // it is not open yet
	usual   bool         // Fatal is the default
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	c.opening = new(atomic.Bool)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.CacheSize == 0 {
		c.CacheSize = cacheSize
	}
	if c.Dir != "" {
		c.HighWater = c.HighWaterFile()
	}
	if c.usual = c.Fatal == nil; c.usual {
		log, opening := c.Log, c.opening
		c.Fatal = func(reason string) {
			l := last{words: lastWords, reason: reason, status: 1}
			if opening.Load() { // it is as it was, or there is none yet
				l.words = "the ledger cannot be opened"
			}
			exit(log, l)
		}
	}
	return c
}

// HighWaterFile is where the high-water file lies.
func (c Config) HighWaterFile() string {
	if c.HighWater != "" {
		return c.HighWater
	}
	return besideDir(c.Dir) + ".high-water"
}

// besideDir returns dir by a name to which a suffix may be added: behind "." or ".." it would make a file in a folder, and not beside it.
func besideDir(dir string) string {
	clean := filepath.Clean(dir)
	if base := filepath.Base(clean); base == "." || base == ".." {
		if abs, err := filepath.Abs(clean); err == nil {
			return abs
		}
	}
	return clean
}

const lastWords = "the ledger can no longer be trusted"

// A last is what a process says that ends because of its ledger.
type last struct {
	words, reason, hint string // hint: what to do; "": start again
	status              int
}

// exit ends the process, and says why on standard error if nothing is logged: nobody should have to guess.
func exit(log zerolog.Logger, l last) {
	if e := log.WithLevel(zerolog.FatalLevel); e.Enabled() {
		if e.Str("reason", l.reason); l.hint != "" {
			e.Str("hint", l.hint)
		}
		e.Msg(l.words)
	} else {
		fmt.Fprintf(os.Stderr, "poe: %s: %s\n", l.words, l.reason)
		if l.hint != "" {
			fmt.Fprintf(os.Stderr, "poe: hint: %s\n", l.hint)
		}
	}
	os.Exit(l.status)
}

// exitDamaged is EX_CONFIG of sysexits(3), as the command ends with it where it finds the same at its start.
const exitDamaged = 78

// damaged is fatal where what is stored is damaged.
func (c *Config) damaged(reason string) {
	if c.usual {
		exit(c.Log, last{lastWords, reason, c.putBack(), exitDamaged})
	}
	c.fatal(reason)
}

// putBack is what to do with a ledger that is damaged.
func (c *Config) putBack() string {
	return "look after the disk, keep the folder as it is, and put a backup into its place: " + c.command("restore", "BACKUP")
}

// fatal never returns, so that Pebble cannot go on after a state that it calls fatal.
func (c *Config) fatal(reason string) {
	c.Fatal(reason)
	select {}
}

// memTableSize is how much is written before a table is made of it, in bytes. A large one saves compactions and, since it lies on Go's
// heap, garbage collections: 8 % of the processor time of a POST against one of 8 MiB.
const memTableSize = 32 << 20

// cacheSize is what Pebble's cache may have, in bytes. What is being written is counted in, two tables mostly: with no more than that the cache is as good as
// none, and a look for a name that is not there reads the filters, indexes and blocks of its tables anew each time, half of the processor time of a claim
// with a key.
const cacheSize = 2*memTableSize + 16<<20

// blockSize is how much of a table is read, and compressed, in one piece, in bytes. With Pebble's own 4 KiB a look at an old record costs up to a tenth less. These make
// tables a few percent smaller, and a sweep, which reads all of a shelf, take two thirds of the time.
const blockSize = 16 << 10

func (c *Config) options(cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS:                          killpoint.Disk(ordered{c.FS}),
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      logger{c},
		EventListener:               c.listener(),
	}
	// Nearly every claim asks for an id and for names that are not there; the filters answer that from memory.
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = blockSize
	}
	return o
}
