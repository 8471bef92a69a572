package server

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	sqlchildv1 "github.com/varvedb/varve/proto/varve/sqlchild/v1"
	"github.com/varvedb/varve/query"
)

// The answer of a plain statement can be had in parts, each by a ticket of its own: a client that reads several connections at once asks for
// that. What the statement wants is worked out once, and the tags are cut into as many ranges of ids. A ticket has all of it, so that no part
// needs the statement or its process again; whoever shows it needs the rights that the statement needs.

const (
	// endpointsKey is the header by which a client says how many endpoints it would have.
	endpointsKey = "x-varve-endpoints"
	maxEndpoints = 64
	// maxPartBytes bounds a part, of which there may be maxEndpoints in one answer. A statement that names more tags is one part.
	maxPartBytes = 32 << 10
)

// wantedEndpoints is how many endpoints a client would have.
func wantedEndpoints(ctx context.Context) (int, error) {
	asked := header(ctx, endpointsKey)
	if asked == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < 1 || n > maxEndpoints {
		return 0, fmt.Errorf("header %s is %.20q, must be 1 to %d: %w", endpointsKey, asked, maxEndpoints, query.ErrBadRequest)
	}
	return n, nil
}

// parts is the executions that together give what a statement answers; none where it is not to be had in parts. The statement is made where a
// client wants parts.
func (s *flightSQL) parts(ctx context.Context, of func() (statement, error)) ([]execution, error) {
	n, err := wantedEndpoints(ctx)
	if err != nil || n == 1 {
		return nil, err
	}
	st, err := of()
	if err != nil || st.sql == "" {
		return nil, err
	}
	if _, explain := explained(st.sql); explain {
		return nil, nil
	}
	var out []execution
	err = s.withStatement(ctx, st, func(ctx context.Context, x *openStatement, r *sqlchildv1.StatementRequest) error {
		r.OnlyPlain = true
		plain, err := s.sql.Execute(ctx, callerOf(ctx).name, r, func([]byte) error { return nil })
		if err != nil || plain == nil || plain.Scan == nil || plain.Limit > 0 || proto.Size(plain) > maxPartBytes {
			return err
		}
		plain.Scan.Statement = x.number
		table, at, done, err := (&tableService{Server: s.Server}).moment(plain.Scan)
		if err != nil {
			return err
		}
		defer done()
		ranges, err := table.Parts(at, scanOf(plain.Scan), n)
		if err != nil {
			return err
		}
		for _, ids := range ranges {
			plain.FirstId, plain.EndId = ids[0], ids[1]
			b, err := proto.Marshal(plain)
			if err != nil {
				return fmt.Errorf("encode a part: %w", err)
			}
			out = append(out, execution{args: b})
		}
		return nil
	})
	return out, err
}

// sendPart sends a part of a plain answer, as it is when it is asked for.
func (s *flightSQL) sendPart(ctx context.Context, part []byte, out *flightSender) (uint64, error) {
	var plain sqlchildv1.Plain
	if err := proto.Unmarshal(part, &plain); err != nil {
		return 0, fmt.Errorf("decode a part: %w: %w", err, errBadTicket)
	}
	a := &flightAnswers{flightSender: out}
	err := s.withStatement(ctx, statement{}, func(ctx context.Context, x *openStatement, _ *sqlchildv1.StatementRequest) error {
		return s.readPlain(ctx, x, &plain, a)
	})
	return a.rows, err
}
