package collector

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// An address that has no value is wrong whatever type its rule has, and one with a Bad value is not.
func TestCheckOfBadReadings(t *testing.T) {
	c, err := ParseConfig("c.yaml", []byte(smallConfig+"    tags: [{address: typed, type: float64}, {address: bare}]\n"), testKinds())
	require.NoError(t, err)
	problem := func(r Reading) string { return c.find(&c.Sources[0], newRegistry(), r, time.Now()).Problem }
	for _, a := range []string{"typed", "bare"} {
		require.Equal(t, "it has no value: BadNoCommunication", problem(Reading{Address: a, Quality: model.BadNoCommunication}))
		require.Empty(t, problem(Reading{Address: a, Quality: model.BadSensorFailure, Value: Float64(1)}))
	}
	require.Empty(t, problem(Reading{Address: "typed"}))
	require.Contains(t, problem(Reading{Address: "bare"}), "give its tag a type")
}
