package pgwire

import "context"

// Command answers SET, RESET and SHOW for a door that keeps no session: what would hold in a session that has just begun is taken, all
// else refused as there. The rows are nil of a SET and a RESET; is is false of every other statement.
func Command(s string) (rows Statement, is bool, err error) {
	statements := split(s)
	if len(statements) != 1 {
		return nil, false, nil
	}
	switch statements[0].key(0) {
	case "SET", "RESET", "SHOW":
	default:
		return nil, false, nil
	}
	session := &session{ctx: context.Background(), server: &Server{}, status: outside, quiet: true, values: map[string]string{}}
	c, err := session.parseCommand(statements[0], nil)
	if err != nil || c == nil || c.rows != nil {
		if c != nil {
			rows = c.rows
		}
		return rows, c != nil || err != nil, err
	}
	if _, err := c.run(nil); err != nil {
		return nil, true, err
	}
	if session.timeout != 0 {
		return nil, true, errorf(codeNotSupported, "statement_timeout is not kept here from one statement to the next").
			hint("give it with the statement: timeout_ms, or --timeout")
	}
	return nil, true, nil
}
