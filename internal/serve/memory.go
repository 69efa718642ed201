package serve

// besideFront is what a server may take beside Config.Front, in bytes: 80 MiB for what the ledger has read, and has written and is not in a table yet, up to
// 48 more where it writes faster than tables are made, 64 at the most for bodies on their way, and the rest for requests and for garbage. Together with 20 MiB
// of program that stays below 256 MiB where nothing else is configured.
const besideFront = 184 << 20

// MemoryLimit is what Go's runtime is to stay within, in bytes (debug.SetMemoryLimit).
func (c Config) MemoryLimit() int64 { return besideFront + max(int64(c.Front), 0) }
