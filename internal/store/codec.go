package store

import (
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Version is the first byte of every encoded record. A record of another version is ErrCorrupt to this one.
const Version = 1

// The fields of an encoded record, in Protocol Buffers' wire format: absent fields cost nothing, unknown ones can
// be told apart from damage. The id is the key and is not encoded. What a sweep reads of each record comes first. Numbers are never reused.
const (
	fParent    protowire.Number = 1
	fKind      protowire.Number = 2
	fState     protowire.Number = 3
	fClaimed   protowire.Number = 4
	fDoor      protowire.Number = 5
	fRoute     protowire.Number = 6
	fTerm      protowire.Number = 7
	fAttempt   protowire.Number = 8
	fMethod    protowire.Number = 9
	fTarget    protowire.Number = 10
	fPrincipal protowire.Number = 11
	fDigest    protowire.Number = 12
	fName      protowire.Number = 13
	fRequest   protowire.Number = 14
	fResponse  protowire.Number = 15
	fStatus    protowire.Number = 16
	fFinished  protowire.Number = 17
	fExpires   protowire.Number = 18
	fDue       protowire.Number = 19
	fEvent     protowire.Number = 20
	fWay       protowire.Number = 21
	fResent    protowire.Number = 22
	fUndo      protowire.Number = 23
	fBegan     protowire.Number = 24
	fAsked     protowire.Number = 25
	fCompared  protowire.Number = 26
	fAskedAs   protowire.Number = 27
)

const (
	bHead    protowire.Number = 1
	bContent protowire.Number = 2
	bWhere   protowire.Number = 3
	bTerm    protowire.Number = 4
	bN       protowire.Number = 5
	bSize    protowire.Number = 6
	bDigest  protowire.Number = 7
)

const (
	eAt     protowire.Number = 1
	eFrom   protowire.Number = 2
	eTo     protowire.Number = 3
	eWho    protowire.Number = 4
	eWhy    protowire.Number = 5
	eStatus protowire.Number = 6
)

func putInt(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func putTime(b []byte, n protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return putInt(b, n, uint64(t.UnixMilli()))
}

func putBytes(b []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func putString(b []byte, n protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// putID writes v unless it is zero, as do those for other sizes. Whole arrays are compared much faster than their bytes one by one.
func putID(b []byte, n protowire.Number, v *ID) []byte {
	if v.IsZero() {
		return b
	}
	return putBytes(b, n, v[:])
}

func putTerm(b []byte, n protowire.Number, v *Term) []byte {
	if *v == (Term{}) {
		return b
	}
	return putBytes(b, n, v[:])
}

func putSum(b []byte, n protowire.Number, v *[32]byte) []byte {
	if *v == ([32]byte{}) {
		return b
	}
	return putBytes(b, n, v[:])
}

// begin begins a message within the message. Its length is known only once it is written, so it is written behind room for
// the shortest length; end moves it by what a longer one needs. Closures would do the same and cost an allocation each.
func begin(b []byte, n protowire.Number) (out []byte, from int) {
	b = append(protowire.AppendTag(b, n, protowire.BytesType), 0)
	return b, len(b)
}

// end ends the message that begins at from, and takes it off again if it is empty.
func end(b []byte, n protowire.Number, from int) []byte {
	size := len(b) - from
	if size == 0 {
		return b[:from-1-protowire.SizeTag(n)]
	}
	if more := protowire.SizeVarint(uint64(size)) - 1; more > 0 { //nolint:gosec // a length
		b = append(b, make([]byte, more)...)
		copy(b[from+more:], b[from:from+size])
	}
	protowire.AppendVarint(b[:from-1], uint64(size)) //nolint:gosec // a length
	return b
}

func putBlob(b []byte, n protowire.Number, p *Blob) []byte {
	b, from := begin(b, n)
	return end(p.append(b), n, from)
}

func putEvent(b []byte, n protowire.Number, e *Event) []byte {
	b, from := begin(b, n)
	return end(e.append(b), n, from)
}

// Append appends the encoding of r, without its id, to b.
func (r *Record) Append(b []byte) []byte { return r.append(b, &r.Response) }

// AppendBare is Append without the content of the answer.
func (r *Record) AppendBare(b []byte) []byte {
	bare := r.Response
	bare.Content = nil
	return r.append(b, &bare)
}

func (r *Record) append(b []byte, answer *Blob) []byte {
	b = append(b, Version)
	b = putID(b, fParent, &r.Parent)
	b = putInt(b, fKind, uint64(r.Kind))
	b = putInt(b, fState, uint64(r.State))
	b = putTime(b, fClaimed, r.Claimed)
	b = putString(b, fDoor, r.Door)
	b = putString(b, fRoute, r.Route)
	b = putBytes(b, fTerm, r.Term[:])
	b = putInt(b, fAttempt, uint64(r.Attempt))
	b = putString(b, fMethod, r.Method)
	b = putString(b, fTarget, r.Target)
	b = putSum(b, fPrincipal, &r.Principal)
	b = putSum(b, fDigest, &r.Digest)
	for i := range r.Names {
		b = putBytes(b, fName, r.Names[i][:])
	}
	b = putBlob(b, fRequest, &r.Request)
	b = putBlob(b, fResponse, answer)
	b = putInt(b, fStatus, uint64(r.Status)) //nolint:gosec // 0 or a status code
	b = putTime(b, fFinished, r.Finished)
	b = putTime(b, fExpires, r.Expires)
	b = putTime(b, fDue, r.Due)
	for i := range r.History {
		b = putEvent(b, fEvent, &r.History[i])
	}
	b = putInt(b, fWay, uint64(r.Way))
	b = putInt(b, fResent, uint64(r.Resent))
	b = putID(b, fUndo, &r.Undo)
	b = putTerm(b, fBegan, &r.Began)
	b = putSum(b, fAsked, &r.Doubt.Request)
	b = putSum(b, fCompared, &r.Doubt.Digest)
	return putInt(b, fAskedAs, uint64(r.Doubt.Attempt))
}

func (p *Blob) append(b []byte) []byte {
	b = putBytes(b, bHead, p.Head)
	b = putBytes(b, bContent, p.Content)
	b = putInt(b, bWhere, uint64(p.Where))
	b = putTerm(b, bTerm, &p.Part.Term)
	b = putInt(b, bN, uint64(p.Part.N))
	b = putInt(b, bSize, uint64(p.Size)) //nolint:gosec // a length
	return putSum(b, bDigest, &p.Digest)
}

func (e *Event) append(b []byte) []byte {
	b = putTime(b, eAt, e.At)
	b = putInt(b, eFrom, uint64(e.From))
	b = putInt(b, eTo, uint64(e.To))
	b = putString(b, eWho, e.Who)
	b = putString(b, eWhy, e.Why)
	return putInt(b, eStatus, uint64(e.Status)) //nolint:gosec // 0 or a status code
}

// Decode reads what Append wrote, for the record with the given id. The result shares no memory with b.
// Anything else is an error that wraps ErrCorrupt; Decode never panics.
func Decode(id ID, b []byte) (Record, error) {
	if len(b) == 0 || b[0] != Version {
		return Record{}, fmt.Errorf("%w: record %s is not of version %d", ErrCorrupt, id, Version)
	}
	r := Record{ID: id}
	if err := fields(b[1:], r.field); err != nil {
		return Record{}, fmt.Errorf("%w: record %s: %w", ErrCorrupt, id, err)
	}
	if r.State == Absent || int(r.State) >= len(stateNames) || r.Term == (Term{}) {
		return Record{}, fmt.Errorf("%w: record %s has no state or no term", ErrCorrupt, id)
	}
	return r, nil
}

// value is one decoded field: a number, or bytes that alias the input.
type value struct {
	n protowire.Number
	i uint64
	b []byte
}

// fields hands every field of b to take.
func fields(b []byte, take func(value) error) error {
	for last := protowire.Number(0); len(b) > 0; {
		var v value
		size, err := v.read(b, last)
		if err != nil {
			return err
		}
		b, last = b[size:], v.n
		switch err := take(v); {
		case err == errEnough: //nolint:errorlint // itself
			return nil
		case err != nil:
			return fmt.Errorf("field %d: %w", v.n, err)
		}
	}
	return nil
}

// read reads the first field of b, which is not empty, and returns how long it is. Append writes them in the order of their numbers, and only names and events more
// than once; anything else, and wire types other than varint and bytes, is damage. Most tags, numbers and lengths are one byte.
func (v *value) read(b []byte, last protowire.Number) (int, error) {
	n, t, size := protowire.Number(b[0]>>3), protowire.Type(b[0]&7), 1
	if b[0] >= 0x80 || n == 0 {
		if n, t, size = protowire.ConsumeTag(b); size < 0 {
			return 0, protowire.ParseError(size)
		}
	}
	if n < last || n == last && n != fName && n != fEvent {
		return 0, fmt.Errorf("field %d after field %d", n, last)
	}
	if t != protowire.VarintType && t != protowire.BytesType {
		return 0, fmt.Errorf("field %d has wire type %d", n, t)
	}
	var i uint64
	if rest := b[size:]; len(rest) > 0 && rest[0] < 0x80 {
		i, size = uint64(rest[0]), size+1
	} else {
		var length int
		if i, length = protowire.ConsumeVarint(rest); length < 0 {
			return 0, protowire.ParseError(length)
		}
		size += length
	}
	if v.n = n; t == protowire.VarintType {
		v.i = i
		return size, nil
	}
	if i > uint64(len(b)-size) { //nolint:gosec // it is not longer than b
		return 0, io.ErrUnexpectedEOF
	}
	end := size + int(i) //nolint:gosec // the same
	v.b = b[size:end:end]
	return end, nil
}

// errEnough is what take returns to fields when it needs no more of them.
var errEnough = errors.New("the others are not needed")

func (v value) fixed(dst []byte) error {
	if len(v.b) != len(dst) {
		return fmt.Errorf("%d bytes, not %d", len(v.b), len(dst))
	}
	copy(dst, v.b)
	return nil
}

func (v value) small(limit uint64) (uint64, error) {
	if v.b != nil || v.i > limit {
		return 0, fmt.Errorf("number %d is over %d", v.i, limit)
	}
	return v.i, nil
}

func (v value) time() (time.Time, error) {
	i, err := v.small(1<<47 - 1)
	if i == 0 || err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(i)).UTC(), nil //nolint:gosec // below 1<<47
}

// bytes returns the bytes, which alias the input.
func (v value) bytes() ([]byte, error) {
	if v.b == nil {
		return nil, errors.New("a number, not bytes")
	}
	return v.b, nil
}

func (v value) copy() ([]byte, error) {
	b, err := v.bytes()
	return append([]byte(nil), b...), err
}

// words are the strings that nearly every record repeats; decoding them costs no allocation.
var words = map[string]string{"poe": "poe", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE", "default": "default"}

func (v value) string() (string, error) {
	b, err := v.bytes()
	if s, ok := words[string(b)]; ok {
		return s, err
	}
	return string(b), err
}

// message hands the fields of a message within the record to take.
func (v value) message(take func(value) error) error {
	b, err := v.bytes()
	if err != nil {
		return err
	}
	return fields(b, take)
}

func (r *Record) field(v value) (err error) {
	var i uint64
	switch v.n {
	case fParent:
		return v.fixed(r.Parent[:])
	case fKind:
		i, err = v.small(uint64(Compensation))
		r.Kind = Kind(i) //nolint:gosec // limited above
	case fState:
		i, err = v.small(uint64(Burned))
		r.State = State(i) //nolint:gosec // limited above
	case fTerm:
		return v.fixed(r.Term[:])
	case fAttempt:
		i, err = v.small(1<<16 - 1)
		r.Attempt = uint16(i) //nolint:gosec // limited above
	case fDoor:
		r.Door, err = v.string()
	case fRoute:
		r.Route, err = v.string()
	case fMethod:
		r.Method, err = v.string()
	case fTarget:
		r.Target, err = v.string()
	case fPrincipal:
		return v.fixed(r.Principal[:])
	case fDigest:
		return v.fixed(r.Digest[:])
	case fName:
		var n Name
		err = v.fixed(n[:])
		r.Names = append(r.Names, n)
	case fRequest:
		return v.message(r.Request.field)
	case fResponse:
		return v.message(r.Response.field)
	case fStatus:
		i, err = v.small(999)
		r.Status = int(i) //nolint:gosec // limited above
	case fClaimed:
		r.Claimed, err = v.time()
	case fFinished:
		r.Finished, err = v.time()
	case fExpires:
		r.Expires, err = v.time()
	case fDue:
		r.Due, err = v.time()
	case fEvent:
		if len(r.History) >= MaxHistory {
			return fmt.Errorf("more than %d events", MaxHistory)
		}
		var e Event
		err = v.message(e.field)
		r.History = append(r.History, e)
	case fWay:
		i, err = v.small(uint64(Accepted))
		r.Way = Way(i) //nolint:gosec // limited above
	case fResent:
		i, err = v.small(1<<16 - 1)
		r.Resent = uint16(i) //nolint:gosec // limited above
	case fUndo:
		return v.fixed(r.Undo[:])
	case fBegan:
		return v.fixed(r.Began[:])
	case fAsked:
		return v.fixed(r.Doubt.Request[:])
	case fCompared:
		return v.fixed(r.Doubt.Digest[:])
	case fAskedAs:
		i, err = v.small(1<<16 - 1)
		r.Doubt.Attempt = uint16(i) //nolint:gosec // limited above
	default:
		return fmt.Errorf("no such field in version %d", Version)
	}
	return err
}

func (p *Blob) field(v value) (err error) {
	var i uint64
	switch v.n {
	case bHead:
		p.Head, err = v.copy()
	case bContent:
		p.Content, err = v.copy()
	case bWhere:
		i, err = v.small(uint64(Streamed))
		p.Where = Where(i) //nolint:gosec // limited above
	case bTerm:
		return v.fixed(p.Part.Term[:])
	case bN:
		i, err = v.small(1)
		p.Part.N = uint8(i) //nolint:gosec // limited above
	case bSize:
		i, err = v.small(MaxSize)
		p.Size = int64(i) //nolint:gosec // limited above
	case bDigest:
		return v.fixed(p.Digest[:])
	default:
		return fmt.Errorf("no such field of a message")
	}
	return err
}

func (e *Event) field(v value) (err error) {
	var i uint64
	switch v.n {
	case eAt:
		e.At, err = v.time()
	case eFrom:
		i, err = v.small(uint64(Burned))
		e.From = State(i) //nolint:gosec // limited above
	case eTo:
		i, err = v.small(uint64(Burned))
		e.To = State(i) //nolint:gosec // limited above
	case eWho:
		e.Who, err = v.string()
	case eWhy:
		e.Why, err = v.string()
	case eStatus:
		i, err = v.small(999)
		e.Status = int(i) //nolint:gosec // limited above
	default:
		return fmt.Errorf("no such field of an event")
	}
	return err
}
