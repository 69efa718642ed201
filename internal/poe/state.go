package core

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/postonce/poe/internal/store"
)

// Phase is where an action stands, as clients are told: the ledger's states, and what time makes of their absence.
type phase string

const (
	unused    phase = "unused"
	running   phase = "running"
	accepted  phase = "accepted"
	sent      phase = "sent"
	done      phase = "done"
	unknown   phase = "unknown"
	burned    phase = "burned"
	neverUsed phase = "never-used" // expired, surely never sent
	expired   phase = "expired"    // expired, tried and not done
	gone      phase = "gone"       // past retention
)

// word returns the phase as POE-State says it.
func (p phase) word() string {
	if p == neverUsed {
		return string(expired)
	}
	return string(p)
}

func phaseOf(s store.State) phase { return phase(s.String()) }

// A status is all that an answer tells about an action: where it stands and the record behind it, which is
// the zero record (but its id) where there is none.
type status struct {
	phase  phase
	record store.Record
	link   string // the value of Link for the record's outcome once somebody asked for it
	held   *held  // where the front has it; nil: the record is from elsewhere
	ready  *ready // what is kept ready of an action that is done; nil: nobody has asked for that
}

// is makes s what is known of the action whose record was just written, or found. r may be its own.
func (s *status) is(p phase, r *store.Record) {
	if r != &s.record {
		s.record = *r
	}
	s.phase, s.link, s.held, s.ready = p, "", nil, nil
}

// setState puts POE-State on an answer, if there is one.
func (s *status) setState(h http.Header, replayed bool) {
	if state := s.state(replayed); state != "" {
		h["Poe-State"] = []string{state}
	}
}

// state returns POE-State, an RFC 9651 item, e.g. done;id="…";status=201;at=@1763750000, or "" for an action that has no id
// yet, since nobody has claimed the name: of that nothing is said.
func (s *status) state(replayed bool) string {
	switch {
	case s.record.ID.IsZero():
		return ""
	case s.ready != nil && replayed:
		return s.ready.replayed
	case s.ready != nil:
		return s.ready.state
	default:
		var room [128]byte
		b := s.appendState(room[:0])
		if replayed {
			b = append(b, replayedFlag...)
		}
		return string(b)
	}
}

// replayedFlag is what POE-State says of an answer that was given before.
const replayedFlag = ";replayed"

// appendState appends the value of POE-State.
func (s *status) appendState(b []byte) []byte {
	b = append(b, s.phase.word()...)
	b = append(b, `;id="`...)
	b, _ = s.record.ID.AppendText(b) // never fails
	b = append(b, '"')
	if s.record.Status != 0 {
		b = append(b, ";status="...)
		b = strconv.AppendInt(b, int64(s.record.Status), 10)
	}
	if !s.record.Finished.IsZero() && s.phase != unused {
		b = append(b, ";at=@"...)
		b = strconv.AppendInt(b, s.record.Finished.Unix(), 10)
	}
	return b
}

// outcomePath returns the path of the action's outcome, or "" while it has none.
func (g *Gate) outcomePath(s *status) string {
	if s.ready != nil {
		return s.ready.outcome
	}
	return outcomeIn(g.statusLink(s))
}

func (g *Gate) appendOutcome(b []byte, id store.ID) []byte {
	b = append(append(b, g.cfg.Prefix...), "outcomes/"...)
	return g.appendRef(b, id)
}

const linkBegin, linkEnd = "<", `>; rel="status"; anchor=""`

// statusLink returns the value of Link for an outcome, or "" while there is none. The context is named by an anchor, because what the answer to an
// unsafe request represents has no address of its own (RFC 8288, section 3.2). The anchor is the empty reference, which stands for the
// address that was asked for (RFC 3986, section 4.4), and so no answer repeats a token.
func (g *Gate) statusLink(s *status) string {
	switch s.phase {
	case running, accepted, sent, done, unknown:
	default:
		return ""
	}
	if s.ready != nil {
		return s.ready.link
	}
	if s.link == "" {
		var room [192]byte
		s.link = string(append(g.appendOutcome(append(room[:0], linkBegin...), s.record.ID), linkEnd...))
	}
	return s.link
}

// outcomeIn returns the outcome's path in such a value.
func outcomeIn(link string) string {
	if link == "" {
		return ""
	}
	return link[len(linkBegin) : len(link)-len(linkEnd)]
}

// A stateDocument is what GET says of an action that has no stored answer to show.
type stateDocument struct {
	State    string     `json:"state"`
	ID       string     `json:"id"`
	Target   string     `json:"target"`
	Method   string     `json:"method"`
	Expires  *time.Time `json:"expires,omitempty"`
	Attempts int        `json:"attempts"`
	Outcome  string     `json:"outcome,omitempty"`
}

// writeState answers with the state document: 200 for an unused action, 202 for one that is under way or unknown.
func (g *Gate) writeState(w http.ResponseWriter, r *http.Request, s *status) {
	rec := &s.record
	doc := stateDocument{
		State: s.phase.word(), ID: rec.ID.String(), Target: rec.Target, Method: rec.Method,
		Expires: timePointer(rec.Expires), Attempts: rec.Attempts(), Outcome: g.outcomePath(s),
	}
	code := http.StatusAccepted
	if s.phase == unused {
		code = http.StatusOK
	} else if wait := g.comeBack(s); wait != "" {
		w.Header().Set("Retry-After", wait)
	}
	s.setState(w.Header(), false)
	if prefersHTML(r) {
		g.writePage(w, code, "state.html", statePage{Doc: doc, Phase: string(s.phase), Here: !g.Owns(r.URL.Path), Receipt: receiptPath(doc.Outcome)})
		return
	}
	g.writeJSON(w, code, doc)
}

// comeBack is the Retry-After of an action that is under way, or that recovery still looks after; "" where waiting does not help.
func (g *Gate) comeBack(s *status) string {
	switch {
	case s.phase != unknown:
		return retrySoon
	case !lookedAfter(s):
		return ""
	default:
		wait := s.record.Due.Sub(g.now()).Seconds()
		return strconv.Itoa(int(min(max(math.Ceil(wait), 1), 60)))
	}
}

// retrySoon is the Retry-After of everything that is under way.
const retrySoon = "1"

func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func receiptPath(outcome string) string {
	if outcome == "" {
		return ""
	}
	return outcome + "/receipt"
}

// writeJSON answers with v.
func (g *Gate) writeJSON(w http.ResponseWriter, code int, v any) {
	g.writeDocument(w, newDocument(encodeJSON(v)), code, "application/json")
}

// encodeJSON returns v as a document with a line end.
func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Errorf("encoding an answer of our own: %w", err)) // our own types: cannot happen, and must not look like an answer
	}
	return append(body, '\n')
}

// writeDocument answers with the document.
func (g *Gate) writeDocument(w http.ResponseWriter, d *document, code int, contentType string) {
	h := w.Header()
	guardHeader(h)
	v := []string{contentType, "nosniff", d.length}
	h["Content-Type"], h["X-Content-Type-Options"], h["Content-Length"] = v[0:1:1], v[1:2:2], v[2:3:3]
	w.WriteHeader(code)
	g.writeOwn(w, d.body)
}

// piece is how much of an answer of ours a client has its time for, in bytes.
const piece = 32 << 10

// writeOwn writes the content of an answer of ours. An error means that the client has gone, or takes nothing, which changes nothing.
func (g *Gate) writeOwn(w http.ResponseWriter, content []byte) {
	out, sent := unlessStalled(w, int64(len(content)), g.cfg.Patience)
	defer sent()
	for p := range slices.Chunk(content, piece) {
		if _, err := out.Write(p); err != nil {
			return
		}
	}
}
