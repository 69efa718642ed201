// Package prove holds what is proved with the real binary: it is killed, and what it promised before is looked for
// afterwards. It has tests only.
package prove
