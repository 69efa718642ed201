package client

// NewTransport is what a Client has where it is given none.
var NewTransport = newTransport

// Connecting is its type.
type Connecting = connecting
