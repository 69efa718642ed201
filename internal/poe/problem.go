package core

import (
	"cmp"
	"net/http"
	"sync/atomic"
	"time"
)

// retry says what a client may do after a problem.
type retry string

const (
	retrySame  retry = "same"  // repeat this very request
	retryNew   retry = "new"   // only with a new action
	retryNever retry = "never" // repeating does not help
)

// A kind is one of the problems that the wire contract names.
type kind struct {
	name   string
	status int
	retry  retry
	title  string // one line, for people
	help   string // what happened, whether a repeat is safe, what to do
}

// The problems, in the order of docs/protocol.md; a test walks both.
var (
	problemNotFound = &kind{"not-found", 404, retryNever, "There is no such link here",
		"The address is not one that this server has signed, or not for this place; a piece of it may be missing. Nothing was executed now, and what was executed before stays done: if you have sent something already, look for the whole address, or ask, before you start again from the page that gave you the link."}
	problemUnknownTarget = &kind{"unknown-target", 404, retryNever, "Nothing here is protected under that address",
		"A POE URI was asked for a target that no route protects. Nothing was executed. Check the path and the method, or the gateway's routes."}
	problemConsumed = &kind{"consumed", 405, retryNever, "This has been done already",
		"The link works once, and it has worked: the request was executed, and will not be executed again, however often it is sent. Follow the outcome to see the original answer."}
	problemRunning = &kind{"running", 409, retrySame, "This is being done right now",
		"A request with the same link or key is being executed, mostly an earlier copy of this one. Nothing is executed a second time. Wait a moment and repeat the same request, or look at the outcome."}
	problemBodyDiffers = &kind{"body-differs", 409, retryNever, "The link was used with another body",
		"The link works once, and it was used for another request than this one: what you sent now was not executed, and will not be with this link. Follow the outcome to see what was."}
	problemOutcomeUnknown = &kind{"outcome-unknown", 409, retrySame, "Nobody knows yet whether this was done",
		"The request was sent to the application, but no complete answer came back: it may have been executed, or not. It is not executed a second time; where the operator has said how, what became of it is being found out. Unless the detail says otherwise, repeating the same request is safe and shows whether more is known; sending a new one may do it twice. If it stays like this, ask the operator. Operators: if an answer of a gateway in between surely means that nothing was done, list its status under release on the route."}
	problemNeverUsed = &kind{"never-used", 410, retryNew, "The link has expired, and was never used",
		"Nothing was executed with this link, and nothing ever will be. It is safe to start again with a new one."}
	problemExpired = &kind{"expired", 410, retryNew, "The link has expired",
		"It was tried, and each time the application, or somebody who looked, said that nothing was done. Nothing will be executed with it any more. It is safe to start again with a new one."}
	problemBurned = &kind{"burned", 410, retryNew, "The link was cancelled",
		"It was cancelled, or not done in the time for that, and nothing will be executed with it any more. Unless the detail says otherwise, nothing ever was."}
	problemGone = &kind{"gone", 410, retryNever, "This is too long ago",
		"The time for which the server remembers is over. Nothing will be executed with this link (again); whether it ever was is no longer known here."}
	problemOutcomePurged = &kind{"outcome-purged", 410, retryNever, "The answer was not kept",
		"The request was executed once, and will not be executed again. Its answer was too large to keep, was passed through while it was made, or is damaged or lost; its status, times and digests are in the receipt."}
	problemTooLarge = &kind{"too-large", 413, retryNever, "The request is too large",
		"Its body, or its target, is over the limit. Nothing was executed now: a link or key that came with it and was not used before is still unused. Send a smaller one."}
	problemPOERequired = &kind{"poe-required", 428, retryNew, "This needs a single-use link",
		"Nothing was executed. Take the link from POE-Links, or from the page that leads here, and send the request to it: then it can be repeated safely."}
	problemCrossOrigin = &kind{"cross-origin", 403, retryNever, "A page of another site sent this",
		"Nothing was executed. A link of ours can only be used by our own pages, unless the route lists the other origin."}
	problemOtherPrincipal = &kind{"other-principal", 403, retryNever, "This belongs to somebody else",
		"The link was made for another user, or for another session of yours. Nothing was executed now and nothing is shown; what was executed before stays done. Sign in as the one it was made for."}
	problemKeyRequired = &kind{"key-required", 400, retryNever, "This needs a key",
		"Nothing was executed. Send the request with a key of your own choice, new for each thing that is to be done once, such as a UUID in Idempotency-Key: then it can be repeated safely."}
	problemKeyInvalid = &kind{"key-invalid", 400, retryNever, "The key cannot be used",
		"Nothing was executed. The detail says what is wrong with it."}
	problemKeyReused = &kind{"key-reused", 422, retryNew, "The key was used for something else",
		"The key names another request: its method, target or body was another one. This request was not executed, and will not be under this key. If it is meant, send it with a new key."}
	problemKeyExpired = &kind{"key-expired", 409, retryNever, "The key was used too long ago",
		"The request that it names was settled long ago, and its answer is no longer repeated. Nothing was executed now. Before you send it with a new key, find out whether it was done then."}
	problemPrincipalChanged = &kind{"principal-changed", 409, retryNever, "The key was used by somebody else",
		"It is most likely the same request, under other credentials: another token or password, or a token that is not valid any more. It was not executed now, so that a new login does not do it twice. Repeat it with the credentials that it was first sent with or, where tokens are known here, with a fresh token; or find out whether it was done."}
	problemPreconditionFailed = &kind{"precondition-failed", 412, retryNever, "What the request was made for is not so any more",
		"Nothing was executed. Look at the resource as it is now, and decide anew whether the request is still meant."}
	problemRolledBack = &kind{"rolled-back", 409, retryNew, "This was taken back",
		"The request was sent to the application, but no complete answer came back. What it may have done was taken back since, and it will not be executed any more. It is safe to start again with a new one."}
	problemDuplicate = &kind{"duplicate", 409, retryNever, "There is one already",
		"Only one request can have this id, or this value, and an earlier one has it. This one was not executed. If it was meant as the same, follow the outcome, to which only the user is led who sent that one and has signed in; if not, choose another value."}
	problemPreconditionRequired = &kind{"precondition-required", 428, retryNew, "This needs to say what it changes",
		"Nothing was executed. Get the resource, and send the request again with its ETag in If-Match: then no change of somebody else is overwritten, and the request can be repeated safely."}
	problemNotRepeatable = &kind{"not-repeatable", 501, retryNever, "Requests are not repeatable there",
		"Nothing was executed. The server does not keep answers under a Repeatability-Request-ID for this target: send the request without it, or with what the target offers."}
	problemAuthorizationUnavailable = &kind{"authorization-unavailable", 503, retrySame, "Nobody could say whether this may be shown",
		"The stored answer is only given to who is allowed to have it, and the application that decides did not answer as it should. Nothing was executed because of this request. Repeat it in a moment."}
	problemBadParameter = &kind{"bad-parameter", 400, retryNever, "A parameter cannot be used",
		"No link was made. The detail names the parameter and says why."}
	problemDigestMismatch = &kind{"digest-mismatch", 400, retryNever, "The body is not the one that was announced",
		"The digest of the body differs from the one in Content-Digest, or from the one that the link is bound to. Nothing was executed, and a link or key that came with it is still unused."}
	problemIncompleteBody = &kind{"incomplete-body", 400, retrySame, "The request did not arrive whole",
		"The connection ended, or broke the rules of HTTP, before the whole body was here. Nothing was executed because of it: repeat the same request."}
	problemCallbackRefused = &kind{"callback-refused", 400, retryNever, "The callback address is not allowed",
		"Nothing was executed and no link was made. The server's configuration allows no callback to that address."}
	problemMethodRefused = &kind{"method-refused", 501, retryNever, "The application does not take this method there",
		"The application answered 405, and did nothing. It is not passed on as 405 because that would mean, on a link of ours, that it has been done."}
	problemNotExecuted = &kind{"not-executed", 502, retrySame, "This was not executed",
		"Surely nothing was executed: not one byte of the request was sent. A link or key that came with it is still unused: repeat the same request."}
	problemLedgerUnavailable = &kind{"ledger-unavailable", 503, retrySame, "The server cannot keep its records right now",
		"Nothing was executed now, because nothing is ever executed without a record. What was executed before stays done, and is not executed again. Repeat the same request in a moment."}
)

// problems lists every kind.
var problems = []*kind{
	problemNotFound, problemUnknownTarget, problemConsumed, problemRunning, problemBodyDiffers, problemOutcomeUnknown,
	problemNeverUsed, problemExpired, problemBurned, problemGone, problemOutcomePurged,
	problemTooLarge, problemPOERequired, problemCrossOrigin, problemOtherPrincipal,
	problemKeyRequired, problemKeyInvalid, problemKeyReused, problemKeyExpired, problemPrincipalChanged,
	problemPreconditionFailed, problemRolledBack, problemDuplicate, problemPreconditionRequired, problemAuthorizationUnavailable, problemNotRepeatable, problemBadParameter,
	problemDigestMismatch, problemIncompleteBody, problemCallbackRefused, problemMethodRefused,
	problemNotExecuted, problemLedgerUnavailable,
}

// acceptedWords are those of problemRunning where nobody is at it yet.
var acceptedWords = &kind{title: "This is accepted and will be done",
	help: "An earlier copy of this request is stored, and will be sent to the application when its turn comes. Nothing is executed a second time. Look at the outcome to see what became of it."}

// failedWords are those of problemConsumed where the outcome is a failure: nobody is to take it for success.
var failedWords = &kind{title: "This was sent already, and answered with an error",
	help: "The link works once: the request was sent to the application, and will not be sent there again, however often it comes. The application did not say that it was done. Follow the outcome to see what it said, before you start again."}

// A problem is one occurrence, as RFC 9457 writes it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	Outcome        string     `json:"outcome,omitempty"`
	State          string     `json:"state,omitempty"`
	Retry          retry      `json:"retry"`
	ClaimedAt      *time.Time `json:"claimed_at,omitempty"`
	ExecutedAt     *time.Time `json:"executed_at,omitempty"`
	OutcomeStatus  int        `json:"outcome_status,omitempty"`
	RequestDigest  string     `json:"request_digest,omitempty"` // as RFC 9530 writes it
	OutcomeDigest  string     `json:"outcome_digest,omitempty"`
	RequestMatches *bool      `json:"request_matches,omitempty"`
	Attempts       int        `json:"attempts,omitempty"`
	LastStatus     int        `json:"last_status,omitempty"`
	Parameter      string     `json:"parameter,omitempty"`

	kind  *kind
	words *kind                     // whose words a page has; nil: those of kind
	slot  *atomic.Pointer[document] // where the document is kept that says the same to everybody; nil: nowhere
}

// problem begins an occurrence of k.
func (g *Gate) problem(k *kind) *problem {
	return &problem{Type: g.publicURL + g.cfg.Prefix + "problems/" + k.name, Title: k.title, Status: k.status, Retry: k.retry, kind: k}
}

// about adds what is known of the action. The outcome is in the body as well as in Link, for clients that do not
// read anchored links.
func (p *problem) about(g *Gate, s *status) *problem {
	if !s.record.ID.IsZero() {
		p.State = s.phase.word()
	}
	p.Outcome = g.outcomePath(s)
	return p
}

// SameContent says for a page what RequestMatches says; "" where nothing was compared.
func (p *problem) SameContent() string {
	switch {
	case p.RequestMatches == nil:
		return ""
	case *p.RequestMatches:
		return "yes"
	default:
		return "no: another request was executed with this link"
	}
}

// crossOrigin refuses a page of another origin, or one that does not say which it is of.
func (g *Gate) crossOrigin(w http.ResponseWriter, r *http.Request) {
	p := g.problem(problemCrossOrigin)
	if r.Header.Get("Origin") == "null" && r.Header.Get("Sec-Fetch-Site") == "" {
		p.Detail = "the request does not say whose page sent it (Origin: null), and pages of this site with the Referrer-Policy no-referrer do not over plain HTTP, or in older browsers: with same-origin they do"
	}
	g.write(w, r, p)
}

// write renders p: as a page where the client prefers one, as application/problem+json otherwise. Fields that the
// caller has set on w stay.
func (g *Gate) write(w http.ResponseWriter, r *http.Request, p *problem) {
	g.metrics.problems[p.kind].Inc()
	if p.Retry == retrySame && w.Header().Get("Retry-After") == "" && p.Status != http.StatusBadRequest {
		w.Header().Set("Retry-After", retrySoon)
	}
	if prefersHTML(r) {
		words := cmp.Or(p.words, p.kind)
		g.writePage(w, p.Status, "problem.html", problemPage{Problem: p, Title: words.title, Help: words.help, Receipt: receiptPath(p.Outcome)})
		return
	}
	doc := newDocument(encodeJSON(p))
	if p.slot != nil {
		p.slot.Store(doc)
	}
	g.writeDocument(w, doc, p.Status, "application/problem+json")
}

// refuse is write for a request that leads to no route.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	g.cors(w.Header(), r)
	g.write(w, r, p)
}

// prefersHTML tells whether the client would rather have a page than JSON (RFC 9110, section 12.5.1).
func prefersHTML(r *http.Request) bool {
	return problemForms.Preferred(r) == "text/html"
}
