// Package h1 serves plain requests of HTTP/1.1 in a loop of its own, and hands every connection that asks for anything else to net/http.
//
// A request is plain if all of it, head and body, is there within 16 KiB, and if nobody could read it in two ways: one line and its fields in ASCII, ended by CR LF, a
// target that begins with one slash, one Host, one Content-Length or none, and no field that changes what the connection is or where the message ends (Transfer-Encoding,
// Upgrade, Expect, Trailer, Connection other than keep-alive). That is what programs send all day. What is not plain has not been touched when net/http gets it: it
// reads the connection from the first byte of that request on, and keeps it.
//
// So this package refuses nothing, and reads nothing that net/http would read differently; a fuzz test compares the two. What it saves is what a general server has to
// do for each request: another goroutine that watches the connection, a context, half a dozen deadlines.
package h1
