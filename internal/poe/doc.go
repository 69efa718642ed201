// Package core is the engine and its doors: it executes an action at most once, keeps what became of it, and
// leads every repeat to that.
//
//	request ─▶ door ─▶ execute ─▶ ledger.Claim ─▶ Executor ─▶ judge ─▶ ledger.Advance ─▶ answer
//	             │         │ taken, or in flight                            │
//	             │         └────▶ wait for the flight's end ◀───────────────┘
//	          tokens: mint, verify
//
// The order of one execution is what everything else rests on:
//
//  1. The request is complete, hashed and within limits. Nothing has happened yet; a client that leaves takes it along.
//  2. Claim. When it returns, the claim is durable. This is the commit point of "at most once": after it the
//     action runs to its end, whoever still listens, and no other claim of it can succeed.
//  3. The executor sends the request, once, and says how far it got: Unsent, Complete or Broken.
//  4. judge reads proof and status: done, unused again, or unknown. Only Unsent, or a complete answer
//     that the route reads as "not done", leads back to unused. Everything that is broken off is unknown.
//  5. Advance. When it returns, the outcome is durable. Only then does the first byte go to the client.
//
// Executing first and recording afterwards was turned down: a crash between the two runs the request twice. So was a
// lease that lets a second owner run what a first one may have sent: an unknown action stays unknown
// until a policy or a person decides.
package core
