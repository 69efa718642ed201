// Package gateway is the upstream side of a gate: it sends a request to the application and says how much of it left.
//
// What left is what the whole project rests on, so the protected hop is our own: HTTP/1.1 over pooled connections
// that count the bytes the kernel accepted.
//
//	Execute ─▶ compose ─▶ reserve ─▶ take ─▶ first write ─▶ rest of the body (own goroutine)
//	             │           │         │         │ nothing accepted          │
//	             ▼           ▼         ▼         ▼                           ▼
//	           Unsent      Unsent    Unsent    next connection, Unsent     answer ─▶ Complete, or else Broken
//
// The rules:
//
//  1. Unsent is said only while the count of accepted bytes is zero. From the first byte on nothing is ever repeated.
//  2. Complete is said only if the answer was read to its end: its length reached, its last chunk seen, or, where the
//     connection ends the body (RFC 9112 section 6.3), closed in order; under TLS that takes a close_notify.
//  3. An idle connection is used again only if it is alive and silent when it is taken, so neither a late second
//     answer nor an unasked one becomes the answer to somebody else.
//  4. Execute leaves no goroutine behind.
//
// An idle connection may still be closed by the upstream while the request is on its way; then nobody can know, and the
// proof is Broken. A short idle time keeps that rare.
//
// Everything that is not protected goes through [Gateway.Proxy], which is net/http's own.
//
// Turned down: http.Transport for the protected hop. It repeats requests by rules of its own and does not tell how many
// bytes left.
package gateway
