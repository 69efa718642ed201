package client

// NewTransport is what a Client has where it is given none.
var NewTransport = newTransport
