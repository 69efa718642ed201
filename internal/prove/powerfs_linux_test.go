package prove_test

import (
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A power is a file system that knows what of it is on the disk: of a file, what was written when it was last synced; of a folder, the entries
// that it had then. When the power is cut off nothing else is left, or some of it, as a disk pleases.
type power struct {
	fuse.RawFileSystem                                     // what it does not have
	lies               func(name string, folder bool) bool // whether a sync is not done although it is said to be; nil: never

	mu     sync.Mutex
	off    bool
	broken bool // every sync fails
	nodes  map[uint64]*node
	root   *node
}

// A node is a file or a folder.
type node struct {
	ino  uint64
	name string // that it was made under
	mode uint32

	data, disk content // of a file: as it is, and as the disk has it
	from, to   int     // what of data is newer than disk

	entries, durable map[string]*node // of a folder: as they are, and as the disk has them
	journal          []change         // in between, in their order
}

// A change of a folder's entries is on the disk as a whole, or not. Nil: the entry goes.
type change map[string]*node

func newPower(lies func(name string, folder bool) bool) *power {
	p := &power{RawFileSystem: fuse.NewDefaultRawFileSystem(), lies: lies, nodes: map[uint64]*node{}}
	p.root = p.add("", syscall.S_IFDIR|0o700)
	return p
}

// add makes a node; p.mu is held.
func (p *power) add(name string, mode uint32) *node {
	n := &node{ino: uint64(len(p.nodes) + 1), name: name, mode: mode}
	if n.folder() {
		n.entries, n.durable = map[string]*node{}, map[string]*node{}
	}
	p.nodes[n.ino] = n
	return n
}

func (n *node) folder() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// alter changes a folder's entries.
func (n *node) alter(c change) {
	apply(n.entries, c)
	n.journal = append(n.journal, c)
}

func apply(entries map[string]*node, c change) {
	for name, to := range c {
		if to == nil {
			delete(entries, name)
		} else {
			entries[name] = to
		}
	}
}

// touched notes that a part of the content is newer than what the disk has.
func (n *node) touched(from, to int) {
	if n.from == n.to {
		n.from, n.to = from, to
		return
	}
	n.from, n.to = min(n.from, from), max(n.to, to)
}

// sync brings n to the disk.
func (n *node) sync() {
	if n.folder() {
		n.durable, n.journal = maps.Clone(n.entries), nil
		return
	}
	n.disk.resize(n.data.size)
	for i := n.from / page; i < pages(min(n.to, n.data.size)); i++ {
		n.disk.pages[i] = n.data.pages[i]
	}
	n.from, n.to = 0, 0
}

// A content is that of a file. Its pages are shared by all who have the same, on this disk and on those that are left of it: so a ledger may live through
// many power cuts. A page that is shared is not changed, and none is before data has it alone.
type content struct {
	size  int
	pages []*[page]byte // nil: zeros
}

func pages(size int) int { return (size + page - 1) / page }

func (c *content) resize(size int) {
	switch n := pages(size); {
	case n <= len(c.pages):
		c.pages = c.pages[:n]
	default:
		c.pages = append(c.pages, make([]*[page]byte, n-len(c.pages))...)
	}
	if at := size % page; size < c.size && at != 0 && c.pages[size/page] != nil { // what is cut off does not come back
		short := *c.pages[size/page]
		clear(short[at:])
		c.pages[size/page] = &short
	}
	c.size = size
}

// own returns a page of a file that may be changed.
func (n *node) own(i int) *[page]byte {
	switch p := n.data.pages[i]; {
	case p == nil:
		n.data.pages[i] = new([page]byte)
	case i < len(n.disk.pages) && n.disk.pages[i] == p:
		changed := *p
		n.data.pages[i] = &changed
	}
	return n.data.pages[i]
}

func (n *node) writeAt(b []byte, at int) {
	n.data.resize(max(n.data.size, at+len(b)))
	n.touched(at, at+len(b))
	for len(b) > 0 {
		m := copy(n.own(at / page)[at%page:], b)
		at, b = at+m, b[m:]
	}
}

func (c *content) readAt(b []byte, at int) []byte {
	n := 0
	for end := min(at+len(b), c.size); at < end; {
		from, to := at%page, min(at%page+end-at, page)
		if p := c.pages[at/page]; p != nil {
			copy(b[n:], p[from:to])
		} else {
			clear(b[n : n+to-from])
		}
		n, at = n+to-from, at+to-from
	}
	return b[:n]
}

func (c *content) clone() content { return content{c.size, slices.Clone(c.pages)} }

// cut takes the power away, at once and for ever, and returns what is left. With luck some of what was not synced is left too: the first changes
// of a folder, and any pages of a file.
func (p *power) cut(luck *rand.Rand) *power {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	left := newPower(p.lies)
	p.root.leave(left, left.root, map[*node]*node{p.root: left.root}, luck)
	return left
}

// leave copies to what the disk has of n.
func (n *node) leave(left *power, to *node, copies map[*node]*node, luck *rand.Rand) {
	if !n.folder() {
		to.data, to.disk = n.disk.clone(), n.disk.clone()
		if luck != nil && n.from < n.to {
			for at := n.from / page * page; at < min(n.to, n.data.size); at += page {
				if luck.IntN(2) == 0 {
					end := min(at+page, n.data.size)
					to.writeAt(n.data.readAt(make([]byte, end-at), at), at)
				}
			}
		}
		to.disk, to.from, to.to = to.data.clone(), 0, 0
		return
	}
	entries := maps.Clone(n.durable)
	if luck != nil {
		for _, c := range n.journal[:luck.IntN(len(n.journal)+1)] {
			apply(entries, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		old := entries[name]
		c, ok := copies[old]
		if !ok {
			c = left.add(old.name, old.mode)
			copies[old] = c
			old.leave(left, c, copies, luck)
		}
		to.entries[name], to.durable[name] = c, c
	}
}

// at returns a node, unless the power is off. p.mu is held.
func (p *power) at(ino uint64) (*node, fuse.Status) {
	n := p.nodes[ino]
	switch {
	case p.off:
		return nil, fuse.EIO
	case n == nil:
		return nil, fuse.ENOENT
	default:
		return n, fuse.OK
	}
}

func (n *node) attributes(a *fuse.Attr) {
	*a = fuse.Attr{Ino: n.ino, Mode: n.mode, Nlink: 1, Size: uint64(n.data.size), Blksize: page, Blocks: uint64(n.data.size+511) / 512}
}

func (n *node) entry(out *fuse.EntryOut) {
	out.NodeId, out.Generation, out.EntryValid, out.AttrValid = n.ino, 1, 60, 60
	n.attributes(&out.Attr)
}

func (p *power) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(h.NodeId)
	if s != fuse.OK {
		return s
	}
	n, ok := dir.entries[name]
	if !ok {
		return fuse.ENOENT
	}
	n.entry(out)
	return fuse.OK
}

func (p *power) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, s := p.at(in.NodeId)
	if s == fuse.OK {
		out.AttrValid = 60
		n.attributes(&out.Attr)
	}
	return s
}

func (p *power) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, s := p.at(in.NodeId)
	if s != fuse.OK {
		return s
	}
	if in.Valid&fuse.FATTR_MODE != 0 {
		n.mode = n.mode&syscall.S_IFMT | in.Mode&^syscall.S_IFMT
	}
	if size, ok := in.GetSize(); ok {
		was := n.data.size
		n.data.resize(int(size))
		n.touched(min(was, int(size)), max(was, int(size)))
	}
	out.AttrValid = 60
	n.attributes(&out.Attr)
	return fuse.OK
}

func (p *power) make(parent uint64, name string, mode uint32, out *fuse.EntryOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(parent)
	if s != fuse.OK {
		return s
	}
	if _, ok := dir.entries[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	n := p.add(name, mode)
	dir.alter(change{name: n})
	n.entry(out)
	return fuse.OK
}

func (p *power) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return p.make(in.NodeId, name, in.Mode|syscall.S_IFDIR, out)
}

func (p *power) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return p.make(in.NodeId, name, in.Mode|syscall.S_IFREG, &out.EntryOut)
}

func (p *power) remove(parent uint64, name string) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(parent)
	if s != fuse.OK {
		return s
	}
	n, ok := dir.entries[name]
	switch {
	case !ok:
		return fuse.ENOENT
	case len(n.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	dir.alter(change{name: nil})
	return fuse.OK
}

func (p *power) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return p.remove(h.NodeId, name)
}

func (p *power) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return p.remove(h.NodeId, name)
}

func (p *power) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(in.NodeId)
	if s != fuse.OK {
		return s
	}
	n, ok := dir.entries[from]
	switch {
	case !ok:
		return fuse.ENOENT
	case in.Newdir != in.NodeId:
		return fuse.Status(syscall.EXDEV) // nobody here asks for it
	}
	dir.alter(change{from: nil, to: n})
	return fuse.OK
}

func (p *power) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(in.NodeId)
	n, found := p.at(in.Oldnodeid)
	if s != fuse.OK || found != fuse.OK {
		return max(s, found)
	}
	if _, ok := dir.entries[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	dir.alter(change{name: n})
	n.entry(out)
	return fuse.OK
}

func (p *power) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, s := p.at(in.NodeId)
	return s
}

func (p *power) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, s := p.at(in.NodeId)
	if s != fuse.OK {
		return nil, s
	}
	return fuse.ReadResultData(n.data.readAt(buf, int(in.Offset))), fuse.OK
}

func (p *power) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, s := p.at(in.NodeId)
	if s != fuse.OK {
		return 0, s
	}
	n.writeAt(b, int(in.Offset))
	return uint32(len(b)), fuse.OK
}

func (p *power) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status    { return p.sync(in.NodeId) }
func (p *power) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return p.sync(in.NodeId) }

func (p *power) sync(ino uint64) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, s := p.at(ino)
	if s == fuse.OK && p.broken {
		return fuse.EIO
	}
	if s == fuse.OK && (p.lies == nil || !p.lies(n.name, n.folder())) {
		n.sync()
	}
	return s
}

// Fallocate has room enough.
func (p *power) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status { return fuse.OK }

// Flush is a close, which says nothing of the disk.
func (p *power) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (p *power) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, s := p.at(in.NodeId)
	return s
}

// ReadDir lists entries from an offset that stays what it is while others come and go: a hash of the name.
func (p *power) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, s := p.at(in.NodeId)
	if s != fuse.OK {
		return s
	}
	type entry struct {
		off uint64
		to  *node
		as  string
	}
	var all []entry
	for name, n := range dir.entries {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		all = append(all, entry{h.Sum64()>>2 | 1, n, name})
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.off < b.off {
			return -1
		}
		return 1
	})
	for _, e := range all {
		if e.off > in.Offset && !out.AddDirEntry(fuse.DirEntry{Mode: e.to.mode, Name: e.as, Ino: e.to.ino, Off: e.off}) {
			break
		}
	}
	return fuse.OK
}

func (p *power) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Blocks: 1 << 26, Bfree: 1 << 25, Bavail: 1 << 25, Files: 1 << 20, Ffree: 1 << 19, Bsize: page, NameLen: 255, Frsize: page}
	return fuse.OK
}
