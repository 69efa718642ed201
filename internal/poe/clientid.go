package core

// The door of client ids: the route says where the request carries an id of the client's choice, a member of the body or a variable of the
// path, and whether a second request under it gets the first one's answer, or is told that it is the second.

func openClientID(c *call) (naming, *problem) {
	if len(c.route.clientID) == 0 {
		return nil, nil
	}
	if err := c.readBody(); err != nil {
		return nil, c.unread(err)
	}
	values, p := c.values(c.route.clientID, problemKeyRequired)
	if p != nil {
		return nil, p
	}
	id := values[0]
	said := id[len("s:"):] // behind what kind of value it is
	if len(said) > maxKey {
		p := c.g.problem(problemKeyInvalid)
		p.Parameter, p.Detail = c.route.ClientID, "is longer than 255 bytes"
		return nil, p
	}
	n := c.newName(doorClientID, id, sharedKey(said))
	if c.route.Repeats == RepeatsRefused {
		n.again = n.refuseSecond
	}
	return n, nil
}

// refuseSecond says that it was done, and where its outcome is.
func (n *byName) refuseSecond(s *status) {
	n.g.write(n.w, n.r, n.about(problemDuplicate, s))
}
