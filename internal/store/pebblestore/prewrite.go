package pebblestore

import (
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
)

// A prewriting disk keeps zeros in a log where its next records will lie, so that a sync of them changes bytes of a file, and neither its size nor
// where it lies: that saves the file system a commit of its own journal, half of what a sync takes.
//
// Pebble recycles its logs for the same reason, and so gets there by itself after some 200 MiB; this is for those before. A log ends in zeros then, as a
// recycled one ends in what it held before, and Pebble reads both alike.
//
// A record that zeros are put over is lost. So they go behind the end that the file system says the file has, where no record can be, and within the
// call of Write that came to that end: Pebble makes one at a time, of a log, and no other before it returns.
type prewriting struct {
	vfs.FS
	log  zerolog.Logger
	live *sync.Map // of *prewritten, by name: the logs that are being written
}

// Open implements vfs.FS. Whoever reads a log that is being written gets what is in it now, and nothing that comes behind that meanwhile: a copy has no gap.
func (p prewriting) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	l, ok := p.live.Load(name)
	var size int64
	if ok {
		size = l.(*prewritten).at.Load()
	}
	f, err := p.FS.Open(name, opts...)
	if err != nil || !ok {
		return f, err
	}
	return &limited{File: f, left: size}, nil
}

// A limited file ends where its writer was.
type limited struct {
	vfs.File
	left int64
}

// Read implements vfs.File.
func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, io.EOF
	}
	n, err := l.File.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}

// walCategory is Pebble's for the logs that it writes. Copies of them, as in a backup, have another.
const walCategory vfs.DiskWriteCategory = "pebble-wal"

// A log gets as many zeros again as it is long, in bytes: at least firstZeros, so that one of which little is used costs little, and at most mostZeros, which take the
// disk a fraction of a millisecond.
const (
	firstZeros = 32 << 10
	mostZeros  = 256 << 10
)

var zeros [mostZeros]byte // never written to

// Create implements vfs.FS. The first zeros of a log are durable when it returns.
func (p prewriting) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, category)
	if err != nil || category != walCategory {
		return f, err
	}
	l := &prewritten{File: f, log: p.log, gone: func() { p.live.Delete(name) }}
	if err = l.extend(); err == nil {
		err = f.SyncData()
	}
	if err == nil {
		p.live.Store(name, l)
		return l, nil
	}
	p.log.Debug().Err(err).Str("file", name).Msg("a log is not prewritten")
	if err := f.Close(); err != nil {
		return nil, err
	}
	return p.FS.Create(name, category) // another file, with nothing in it that may not have got to the disk
}

// ReuseForWrite implements vfs.FS.
func (p prewriting) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.ReuseForWrite(from, to, category)
	if err != nil || category != walCategory {
		return f, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &prewritten{File: f, log: p.log, end: info.Size(), gone: func() { p.live.Delete(to) }}
	p.live.Store(to, l)
	return l, nil
}

// Unwrap implements vfs.FS.
func (p prewriting) Unwrap() vfs.FS { return p.FS }

// A prewritten file is a log that is written from its beginning.
type prewritten struct {
	vfs.File
	log  zerolog.Logger
	gone func()
	at   atomic.Int64 // where the next record goes
	end  int64        // of the file, as long as at has not passed it
}

// Close implements vfs.File.
func (p *prewritten) Close() error {
	p.gone()
	return p.File.Close()
}

// Write implements vfs.File.
func (p *prewritten) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	if at := p.at.Add(int64(n)); err == nil && at > p.end {
		if err := p.extend(); err != nil {
			p.log.Debug().Err(err).Msg("a log is not prewritten any further")
		}
	}
	return n, err
}

// extend puts zeros behind the end of the file, up to a multiple of firstZeros. Where there is no room for them the file is one that grows from then on.
func (p *prewritten) extend() error {
	info, err := p.Stat()
	if err == nil {
		size := info.Size()
		p.end = (size + min(max(size, firstZeros), mostZeros)) / firstZeros * firstZeros
		_, err = p.WriteAt(zeros[:p.end-size], size)
	}
	if err != nil {
		p.end = math.MaxInt64
	}
	return err
}
