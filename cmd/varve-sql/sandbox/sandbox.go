// Package sandbox takes from a process what it has no use for: files, network, other processes. What a kernel does not offer is left out,
// and said.
package sandbox

// Limits are what a process may use.
type Limits struct {
	AddressBytes int64  // of address space
	FileBytes    int64  // of one file
	Files        uint64 // open
	Dir          string // the only directory it may write in, empty for none
}
