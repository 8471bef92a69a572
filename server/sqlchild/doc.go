// Package sqlchild keeps the SQL process of a server: starts it, asks it, limits it, and starts another when it ends.
//
//	statement → its turn → process (started if there is none) → Execute → Arrow bytes
//	                           ↘ tables, asked back over a second socket
//
// The process gets two sockets and nothing else: no other files, no environment. It dies with the server. It is killed when it holds more
// memory than it may, and ends by itself when a statement does not end that is over; statements that ran then end with [ErrLost], and the
// next one finds a new process.
//
//	runner.go   Runner: what a server asks
//	process.go  one process, from start to end; process_unix.go is how it is made
//	gate.go     whose turn it is
//	pressure.go whether writers bring so much that the process leaves them a processor
package sqlchild
