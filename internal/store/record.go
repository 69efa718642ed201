package store

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Name is one way in which a door finds an action: a keyed hash over the door, its scope and
// length-prefixed parts, so that "ab"+"c" is not "a"+"bc" and nobody can guess one.
type Name [32]byte

// A Term names one write of one record. It is random, chosen by the writer before its first attempt,
// and makes a repeated write recognisable.
type Term [8]byte

// State is where an action stands.
type State uint8

// The states. Absent is the zero value and is never stored.
const (
	Absent  State = iota
	Unused        // claimed before, surely not done; may be claimed again
	Queued        // accepted, to be executed later; nothing was sent
	Running       // claimed; the request may have left at any moment since
	Sent          // as Running, with a durable mark that sending has begun
	Done          // executed, the outcome is known
	Unknown       // may have been executed; never runs again by itself
	Burned        // voided before anything was sent
)

var stateNames = [...]string{"absent", "unused", "accepted", "running", "sent", "done", "unknown", "burned"}

// String returns the state's word in the wire contract.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Open tells whether the action's end is not known yet, so that its record outlives its shelf.
func (s State) Open() bool { return s == Queued || s == Running || s == Sent || s == Unknown }

// Kind picks the executor of an action.
type Kind uint8

// The kinds of action.
const (
	Request      Kind = iota // a client's request
	Callback                 // the delivery of an outcome to an address
	Compensation             // the request that takes an unknown action back

	Kinds = iota // how many there are
)

// Way is how an action's sending is secured. It is chosen with the claim and stays: what a state proves after a crash depends on it, and not
// on what a configuration says by then.
type Way uint8

// The ways.
const (
	Direct   Way = iota // sent right after the claim: Running may have been sent
	Marked              // Sent is durable before the first byte: Running surely was not sent
	Accepted            // stored, and promised to its client: Queued until it is Sent, and never unused again
)

// Where tells what became of a message's content.
type Where uint8

// Where a message's content is.
const (
	Nowhere  Where = iota // there was no message, or only its digest and length were kept
	Inline                // in the record, in Blob.Content
	Beside                // in Bodies, under the term of the write that settled it
	Purged                // not kept: longer than what is kept of an answer
	Streamed              // not kept: passed through while it was produced
)

var whereNames = [...]string{"none", "inline", "beside", "purged", "streamed"}

// String names it in one lower-case word.
func (w Where) String() string {
	if int(w) < len(whereNames) {
		return whereNames[w]
	}
	return fmt.Sprintf("where(%d)", uint8(w))
}

// InlineLimit is the largest content that lies in the record itself, in bytes.
const InlineLimit = 64 << 10

// A Blob is what a record keeps of a request or an answer.
type Blob struct {
	Head    []byte   // the message's fields, encoded by package replay; may be empty
	Content []byte   // only where Where is Inline
	Where   Where    // what became of the content
	Part    Part     // only where Where is Beside: with the record's id, the content's place
	Size    int64    // of the content, in bytes; what was seen of it where it is Streamed
	Digest  [32]byte // SHA-256 of the content; zero where it is Streamed
}

// A Part names a body of an action beside the ledger. It is unique by the term of the write that refers to it.
type Part struct {
	Term Term
	N    uint8 // 0: the request, 1: the answer
}

// An Event is one line of an action's history: what moved it outside the plain course.
type Event struct {
	At       time.Time
	From, To State
	Who      string // "engine", "recovery", "operator:…"
	Why      string // one line for people
	Status   int    // the answer's status where there was one
}

// MaxHistory is how many events a record keeps; the first one and the latest ones survive.
const MaxHistory = 32

// A Record is all that the ledger knows of an action. Times are kept to the millisecond; zero means none.
type Record struct {
	ID        ID
	Parent    ID // the action that spawned this one, or zero
	Kind      Kind
	State     State
	Way       Way
	Term      Term   // of the write that made the record what it is
	Began     Term   // of the write that began the attempt which is under way or unknown; zero: Term. The ledger keeps it
	Attempt   uint16 // complete answers so far that meant "not done"
	Door      string
	Route     string
	Method    string
	Target    string
	Principal [32]byte // hashed; zero: nobody
	Digest    [32]byte // what the door compares a repeated request by; zero: Request.Digest
	Names     []Name
	Request   Blob
	Response  Blob
	Status    int       // of the answer; 0: none
	Claimed   time.Time // when the latest attempt was claimed
	Finished  time.Time // when it came to rest
	Expires   time.Time // from then on, and Skew, it cannot be claimed
	Since     time.Time // of a claim, and not kept: nothing was claimed under its names before then; zero: nobody knows
	Due       time.Time // when somebody must look at it; zero: never again
	Resent    uint16    // how often recovery has sent this attempt's request again since it became unknown
	Undo      ID        // the child that takes this attempt back, or zero: then that child says how it ends
	Doubt     Doubt     // the ledger keeps it
	History   []Event
}

// A Doubt is the latest attempt of an unused action of which an operator has said, and no answer, that it was not done. Whoever asks for the same again
// does so under the number of that attempt, so that an application which knows keys can tell; whoever asks for something else must not.
type Doubt struct {
	Request [32]byte // its method, target and content, hashed; zero: there is no doubt
	Digest  [32]byte // its Digest
	Attempt uint16   // its Attempt
}

// about tells whether r asks for what is in doubt: for the very same, or for what its door takes for the same.
func (d *Doubt) about(r *Record) bool {
	return d.Request == r.asks() || d.Digest != [32]byte{} && d.Digest == r.Digest
}

// Skew is how far apart clocks are allowed to be: an action may still be claimed that long after Expires.
const Skew = 5 * time.Second

// Person is the Due of a record that waits for a person's decision. No worker's agenda reaches it.
var Person = time.UnixMilli(1<<47 - 1).UTC()

// Entry returns the line of the agenda that r has; the zero Entry: none, since nobody need look at it.
func (r *Record) Entry() Entry {
	if r.Due.IsZero() {
		return Entry{}
	}
	e := Entry{Queue: Ends, Due: r.Due, ID: r.ID}
	switch {
	case r.State != Queued:
	case r.Kind == Callback:
		e.Queue = Calls
	default:
		e.Queue = Starts
	}
	return e
}

// Attempts returns how many times the request may have been sent: each complete answer that meant "not done", each attempt of
// which nobody knew the end until an operator said that it was not done, and the one that is under way or was the last.
func (r *Record) Attempts() int {
	n := int(r.Attempt)
	for i := range r.History {
		if r.History[i].givenUp() {
			n++
		}
	}
	switch r.State {
	case Running, Sent, Done, Unknown:
		return n + 1
	default:
		return n
	}
}

// givenUp tells whether the event ended the doubt about an attempt by an operator's word.
func (e *Event) givenUp() bool {
	return e.From == Unknown && (e.To == Unused || e.To == Queued || e.To == Burned) && strings.HasPrefix(e.Who, "operator")
}

// RefersTo tells whether r has that content beside it.
func (r *Record) RefersTo(p Part) bool {
	return r.Request.Where == Beside && r.Request.Part == p || r.Response.Where == Beside && r.Response.Part == p
}

// Attempted returns what names the attempt that is under way or unknown, and no other one of any action: whoever made it can tell it from a later one.
func (r *Record) Attempted() Term {
	if r.Began != (Term{}) {
		return r.Began
	}
	return r.Term
}

// asks is a digest of what r asks for: method, target and content.
func (r *Record) asks() [32]byte {
	return sha256.Sum256([]byte(r.Method + "\x00" + r.Target + "\x00" + string(r.Request.Digest[:])))
}

// lastGivenUp tells whether that is the last that is known of r.
func (r *Record) lastGivenUp() bool {
	return len(r.History) > 0 && r.History[len(r.History)-1].givenUp()
}

// Note appends e to the history. Where there are more than MaxHistory it drops the oldest one but the first, of those that neither began nor
// ended a doubt if there are any: what somebody decided about an unknown action stays.
// It never writes into the array of the history that r came with, so copies of r stay what they were.
func (r *Record) Note(e Event) {
	h := make([]Event, 0, len(r.History)+1)
	h = append(h, r.History...)
	for len(h) >= MaxHistory {
		drop := 1 + slices.IndexFunc(h[1:], func(e Event) bool { return e.From == e.To || e.From != Unknown && e.To != Unknown })
		h = slices.Delete(h, max(drop, 1), max(drop, 1)+1)
	}
	r.History = append(h, e)
}
