package store

import "time"

// Progress says how far a backup, a restore or a check has come.
type Progress struct {
	Step  string `json:"step"`            // what is being done, in a few words
	Done  int64  `json:"done"`            // how much of it
	Total int64  `json:"total,omitempty"` // of how much; 0: nobody knows
	Unit  string `json:"unit"`            // "records", "bytes", …
}

// Copied says what a backup holds, or what a restore put back.
type Copied struct {
	Ledger   ID        `json:"ledger"`
	Sequence uint64    `json:"sequence"` // of the last write in it
	Time     time.Time `json:"time"`     // of that write, by the ledger's clock
	Records  int64     `json:"records"`
	Bodies   int64     `json:"bodies"`
	Missing  int64     `json:"missing"` // contents that records name and the ledger itself did not have any more
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
}

// Restore is what a ledger is put back from.
type Restore struct {
	From     string         // the folder of a backup; "": the ledger is there already, and is accepted as it is, though it is older than it was
	Lost     bool           // names that clients chose before may be executed again
	Progress func(Progress) // hears now and then how far it is; nil: nobody
}

// Findings is what a check has read, and what is wrong with it.
type Findings struct {
	Ledger   ID       `json:"ledger"`
	Sequence uint64   `json:"sequence"`
	Records  int64    `json:"records"`
	Names    int64    `json:"names"`
	Agenda   int64    `json:"agenda"`
	Bodies   int64    `json:"bodies"`
	Bytes    int64    `json:"bytes"`   // of contents whose digest was compared
	Wrong    []string `json:"wrong"`   // the first of them
	Altered  bool     `json:"altered"` // it is a backup, and its files are not what was backed up: it is not restored
	Faults   int64    `json:"faults"`
}
