package gateway

// PlainAnswer reads the head of an answer that has arrived, if it is plain.
var PlainAnswer = plainAnswer
