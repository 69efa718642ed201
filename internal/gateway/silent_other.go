//go:build !unix

package gateway

import "net"

// silent cannot look into a connection here, so none is used twice.
func silent(net.Conn) bool { return false }
