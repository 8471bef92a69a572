package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// percentileFile is examples of quantiles. Only those of one definition, on straight lines from value to value, are uncontested: the rest
// are of sketches, or of definitions that answer with a value of the data.
type percentileFile struct {
	Exact struct {
		Source string
		Series map[string][]any
		Cases  []map[string]any // q, and what is wanted of each series
	} `json:"exact_interpolated"`
	Sketch []quantileCase `json:"tdigest_quantile"`
	Flux   []quantileCase `json:"flux_examples"`
}

type quantileCase struct {
	Data   []any
	Q      float64
	Expect any
}

func runPercentiles(ctx context.Context, s *Server, raw []byte, r *Report) error {
	var file percentileFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return unreadable(err)
	}
	for _, name := range slices.Sorted(maps.Keys(file.Exact.Series)) {
		e, err := s.begin(ctx, r, name, file.Exact.Source, inOrder(file.Exact.Series[name]))
		if err != nil {
			return err
		}
		for _, c := range file.Exact.Cases {
			q, ok := c["q"].(float64)
			if !ok {
				return fmt.Errorf("case %v has no q: %w", c, ErrFormat)
			}
			want, ok := c[name]
			if !ok {
				continue
			}
			if err := e.askQuantile(ctx, q, want); err != nil {
				return err
			}
		}
		e.end()
	}
	for _, x := range []struct {
		source string
		cases  []quantileCase
	}{{"tdigest", file.Sketch}, {"flux-docs", file.Flux}} {
		for i, c := range x.cases {
			e, err := s.begin(ctx, r, fmt.Sprintf("%s-%d", x.source, i), x.source, inOrder(c.Data))
			if err != nil {
				return err
			}
			e.contested = true
			if err := e.askQuantile(ctx, c.Q, c.Expect); err != nil {
				return err
			}
			e.end()
		}
	}
	return nil
}

// inOrder is values a second apart.
func inOrder(values []any) (points []point) {
	for i, v := range values {
		points = append(points, point{int64(i) * 1e9, v})
	}
	return points
}

// askQuantile asks for a percentile of all points. One that is none is refused, where other engines answer an infinity.
func (e *example) askQuantile(ctx context.Context, q float64, want any) error {
	was := e.contested
	defer func() { e.contested = was }()
	e.contested = was || q < 0 || q > 1
	return e.ask(ctx, "percentile("+strconv.FormatFloat(100*q, 'g', -1, 64)+")", false, span{end: 1 << 40}, want)
}
