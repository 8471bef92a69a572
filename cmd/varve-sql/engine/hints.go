package engine

import (
	"github.com/varvedb/varve/cmd/varve-sql/rewrite"
	"github.com/varvedb/varve/server/hint"
)

// Hints narrow a scan. The zero value does not.
type Hints struct {
	hint.Hints
	Few       rewrite.Few       // rows of each tag; no rows for all
	Arguments map[string]string // of a function, as JSON
}
