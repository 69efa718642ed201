package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"time"
)

// What a write can surely not have done. Every other error of a write leaves it unknown.
var (
	// ErrTaken: the id is claimed, or one of the names names another action. The holder's record comes with it.
	ErrTaken = errors.New("taken")
	// ErrStale: the record is not the one that the write was to replace.
	ErrStale = errors.New("stale term")
	// ErrExpired: the action can no longer be claimed.
	ErrExpired = errors.New("expired")
	// ErrInvalid: the record breaks a rule of the ledger; a bug of the caller.
	ErrInvalid = errors.New("invalid record")
	// ErrUnavailable: the ledger refused before it wrote anything; a later try may succeed.
	ErrUnavailable = errors.New("ledger unavailable")
	// ErrNotFound: Lookup found no record, which proves that there was none as long as the shelf is not past.
	ErrNotFound = errors.New("no such record")
	// ErrCorrupt: what is stored cannot be read. Nothing may be concluded from it.
	ErrCorrupt = errors.New("corrupt record")
	// ErrLocked: another process has the ledger open, or this one has.
	ErrLocked = errors.New("in use")
	// ErrRolledBack: the ledger is older than it was once, or empty. What it has forgotten would be executed a second time.
	ErrRolledBack = errors.New("the ledger is not what it was")
	// ErrAnother: the ledger is not the one that its keys, or its high-water file, belong to.
	ErrAnother = errors.New("another ledger")
)

// A HintError is an error that who runs the ledger can mend.
type HintError struct {
	Err  error  // what is wrong, and with which file or folder
	What string // what to do, mostly a command that can be pasted into a shell
}

// Error says what is wrong.
func (e *HintError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *HintError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *HintError) Hint() string { return e.What }

// Refused tells whether err says that a write surely was not done. It is false for nil.
func Refused(err error) bool {
	for _, e := range []error{ErrTaken, ErrStale, ErrExpired, ErrInvalid, ErrUnavailable} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// A Key is what a record is looked up by: an id or a name.
type Key struct {
	id     ID
	name   Name
	byName bool
}

// ByID is the key of the record with that id.
func ByID(id ID) Key { return Key{id: id} }

// ByName is the key of the record that holds that name.
func ByName(n Name) Key { return Key{name: n, byName: true} }

// ID returns the id, and whether the key is one.
func (k Key) ID() (ID, bool) { return k.id, !k.byName }

// Name returns the name, and whether the key is one.
func (k Key) Name() (Name, bool) { return k.name, k.byName }

// Also is what happens in the same durable write as an Advance.
type Also struct {
	Free  []Name   // names of the record that become free
	Take  []Name   // names that from then on lead to the record, whoever they led to
	Spawn []Record // children: Queued, with the record as their Parent, and absent so far
}

// A Ledger keeps records. All methods may be called concurrently.
//
// A record that goes in is not kept after the call returns, nor are its slices, which are not written to; slices in a record
// that comes out belong to everybody and are read only. A write completes the record that it is given, in place, and returns it: as written, it
// may share slices with what the ledger has. After an error it is as it came, but for times, which are rounded, and what the ledger keeps of
// itself (Began, Attempt, History, Doubt), so that the same write can be made again with it; what is returned then is the record in the way, or nil.
//
// Times are kept to the millisecond, and a write returns them so. A record that breaks a rule of Record.Check is ErrInvalid; one is
// that an open record has a Due, so that somebody looks at it. A context that ends before a write has
// begun is ErrUnavailable; a write that has begun is not given up.
type Ledger interface {
	// Claim writes r, which must be Running, Queued or Burned, if its id is absent or Unused, all its names are
	// free or already its own, and it has not expired (r.Expires plus Skew, by the ledger's time): record,
	// names and agenda entry in one write that is durable when Claim returns.
	//
	// At most one caller, in any process, gets a given id or name. A record that was released keeps its Attempt and
	// History, whatever r says, and its names: the ones that r does not bring stay too.
	// A record that would be new, and has a Since, is ErrExpired where an action of its door and route that was claimed then or later may have been
	// forgotten: it may have had these names. Whatever was configured when, a name that says its age is so not claimed twice.
	//
	// If the id, or a name, is taken it returns the holder and ErrTaken; an id that is taken beats ErrExpired, which
	// beats a name that is taken, which beats what Since says. A repeat of a claim, known by its
	// term, succeeds. For errors that Refused does not know, the claim may or may not have been written: Lookup tells.
	Claim(ctx context.Context, r *Record) (*Record, error)

	// Advance replaces the record with r's id, if its term is was, by r, together with what also says,
	// in one write that is durable when Advance returns. r.Term must differ from was.
	//
	// If the term is another one it returns the record as it stands and ErrStale, except where it is r.Term:
	// then an earlier try of this write was done, and Advance succeeds. If there is no record it returns ErrStale and nil.
	//
	// States move as Moves says. What the action is (Kind, Way, Parent, Principal, Door, Route, Method, Target) stays, Attempt and Resent do
	// not sink, and an Undo that is there stays until the action is Queued again. Names are not added by r, and stay even if r leaves them out; the
	// ones in also.Free, which must be the record's, leave it. The ones in also.Take join it, and lead to it from then on; a record that
	// they led to before still lists them, and no write of it, nor its sweep, takes them away from the new one. If a child's id or name is taken nothing is done, and it
	// returns the holder and ErrTaken; a child on a past shelf, or one that has expired, is ErrExpired. A record that is Done or Burned cannot be changed (ErrInvalid),
	// except that it may become the same again to purge its body, free names or extend its history, with the same
	// Status, Finished, and length and digest of the answer.
	Advance(ctx context.Context, was Term, r *Record, also Also) (*Record, error)

	// Lookup returns the record under k as of its last durable write, or ErrNotFound.
	Lookup(ctx context.Context, k Key) (Record, error)

	// Agenda lists, soonest first, at most limit of the actions in after's queue whose Due is no later than due, from behind after; an Entry with nothing but a
	// Queue is before all of it, and Person is behind all. It is a hint: the record is the truth, and may have moved on.
	Agenda(ctx context.Context, after Entry, due time.Time, limit int) ([]Entry, error)
}

// Bodies keeps contents that are too large for a record.
type Bodies interface {
	// Put copies src to its end and returns its length once it is durable, its folder entry included. What it wrote counts
	// only when a record refers to it; what no record refers to is removed with its shelf.
	Put(ctx context.Context, id ID, part Part, src io.Reader) (int64, error)
	// Open returns the content, or ErrNotFound. The caller closes it.
	Open(ctx context.Context, id ID, part Part) (io.ReadSeekCloser, error)
	// Discard removes the content before its shelf is past, unless the id's record refers to it. The caller knows that no write which would refer to it is
	// under way, or may be. What is not there is no error, what is being put stays, and what has been opened can be read to its end.
	//
	// It is for room and for privacy, and nothing rests on it: a ledger that is being copied removes it later, and what a crash or an
	// error leaves is removed with its shelf.
	Discard(ctx context.Context, id ID, part Part) error
}

// Floor is what a ledger knows about time without a clock.
type Floor struct {
	Time   time.Time // the latest time that the ledger believed and wrote down; it never runs behind it
	Minted time.Time // ids minted before it may have been forgotten by a restore; zero: none
	Lost   bool      // names may have been forgotten by it too: that one is free proves nothing, and nobody has accepted that
}

// Swept is what one step of a sweep did.
type Swept struct {
	Shelf   Shelf // the shelf it worked on
	Records int   // records forgotten by this step
	More    bool  // whether another step would find work
}

// A Queue is a part of the agenda. What waits in one is in the way of nobody who looks for what waits in another.
type Queue uint8

// The queues.
const (
	Starts Queue = iota // requests and compensations that were accepted, and wait to be executed
	Calls               // callbacks that wait to be delivered
	Ends                // everything else: what is under way, and has lost its owner when it is due; what is unknown; what is still to be told of

	Queues = iota // how many there are
)

// An Entry is one line of the agenda: an action, what it waits for, and when somebody must look at it.
type Entry struct {
	Queue Queue
	Due   time.Time
	ID    ID
}

// IsZero tells whether e is no entry.
func (e Entry) IsZero() bool { return e.ID.IsZero() }

// Compare orders entries as Agenda lists them, queue after queue.
func (e Entry) Compare(f Entry) int {
	return cmp.Or(cmp.Compare(e.Queue, f.Queue), e.Due.Compare(f.Due), bytes.Compare(e.ID[:], f.ID[:]))
}

// Health is how a ledger stands, by what it saw last.
type Health struct {
	Free int64 // bytes that are left on its disk; -1: nobody knows
	Low  bool  // too little is left: new claims are ErrUnavailable, what runs is settled
	// Ahead is by how much the wall clock is ahead of what the ledger believes, while that is so much that nothing is forgotten; see Clock.
	Ahead time.Duration
	// Left is how many open records are left to a person (their Due is Person), by Kind.
	Left [Kinds]int64
}

// Upkeep is what a ledger needs over time, and what people ask of it.
type Upkeep interface {
	// Identity is the ledger's own random id, made with it and never changed. Tokens are signed for it.
	Identity() ID
	// Secret is 32 random bytes, made with the ledger and never changed, under which names and principals are hashed.
	Secret() [32]byte
	// Exclusive tells whether no other process can have this ledger open, so that a Running record which
	// this process did not claim has lost its owner.
	Exclusive() bool
	// Sweep does one bounded step of forgetting the shelves that are past at now, and at the ledger's own time: records at
	// rest, their names and agenda entries, and the bodies of what has no record. It never removes an open record. While the clock is in doubt
	// (Health.Ahead) it does nothing.
	// After an error a step may be done in part; the next sweep does the rest.
	Sweep(ctx context.Context, now time.Time) (Swept, error)
	// List returns at most limit ids after the given one, in the ledger's order; the zero id is before all.
	List(ctx context.Context, after ID, limit int) ([]ID, error)
	// Floor returns the stored floors.
	Floor(ctx context.Context) (Floor, error)
	// Health tells how the ledger stands. It costs no I/O.
	Health() Health
	// ConfirmClock has it that the wall clock is right, though it leapt: the ledger's time follows it, and what is past by it is forgotten again.
	ConfirmClock()
	// Clock returns the clock by which the ledger judges claims. Who tells others what time it is for an action goes by the same one: with two, the one
	// would say that an action can no longer be executed, and the other execute it.
	Clock() *Clock
	// Ready tells whether the ledger can write now, with a reason that may be shown to an operator.
	Ready(ctx context.Context) error
	io.Closer
}

// Store is everything together: what the engine works on.
type Store interface {
	Ledger
	Bodies
	Upkeep
}
