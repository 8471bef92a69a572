// Package pgwire is the door for clients of PostgreSQL: version 3 of its protocol, read-only.
//
//	connection → (TLS) → startup → who calls → messages → Statements → rows
//
// # What it does and what it leaves
//
// It speaks the protocol and keeps what belongs to a session: settings, transactions that read, prepared statements,
// portals, cursors. What a statement means is not its business: the text goes to Statements, and Arrow comes back. Only
// questions about the catalogue are changed on their way, so that they meet tables as PostgreSQL has them (package
// pgcatalog).
//
// # What it promises
//
// A message is taken only up to a size that is checked before memory is; before somebody has said who they are, up to
// the 10,000 bytes that PostgreSQL allows too. A client that does not read, does not write or does not say who it is in
// time is let go. A panic ends its connection and nothing else. Values keep their bits in the binary formats; in the text
// formats numbers keep theirs but for the payload of a NaN. Times are cut to microseconds, as the protocol has no more.
//
// # Parts
//
//	server.go      connections, cancel requests, draining
//	startup.go     TLS, passwords, the first words of a session
//	session.go     messages in and out
//	extended.go    Parse, Bind, Describe, Execute
//	commands.go    statements that concern the session only
//	settings.go    SET and SHOW
//	lexer.go       where a statement ends and what it begins with
//	types.go, rows.go, parameters.go   Arrow and PostgreSQL's types
//	errors.go      SQLSTATE
package pgwire
