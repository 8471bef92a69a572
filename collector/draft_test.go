package collector

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/model"
)

// A draft can be read again, has a rule for every offer and one name for each, and leaves what stood there: whatever offers are named, and however the file is written.
func TestDraftsCanBeRun(t *testing.T) {
	t.Setenv("VARVE_TEST_SECRET", "hunter2")
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", "é", "{", "}", "{1}", ": ", "#", "- ", "'", "\"", "\n", "\t", " ", "\x00", "\xff", "*", "&x", "!!binary", "[0]", "/", "ns=2;s=", "true", "0x1f", strings.Repeat("long", 300)}
	word := func() string {
		var b strings.Builder
		for range 1 + random.IntN(4) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	for _, layout := range []string{
		smallConfig,
		strings.Replace(smallConfig, "type: scripted\n", "type: scripted\n    max_tags: 3\n    tags: # ours\n      - {address: a, tag: plc.a, unit: bar} # by hand\n      - {address: b, skip: true}\n", 1),
		"{collector: plant, destinations: [{address: '127.0.0.1:7420', token: '${VARVE_TEST_SECRET}'}], queue: {dir: q}, sources: [{name: other, type: scripted, tags: [{address: x, tag: plc.a}]}, {name: plc, type: scripted}]}\n",
	} {
		for range 20 {
			file := filepath.Join(t.TempDir(), "c.yaml")
			require.NoError(t, os.WriteFile(file, []byte(layout), 0o644))
			c, err := ReadConfig(file, testKinds())
			require.NoError(t, err)
			s, err := c.Source("plc")
			require.NoError(t, err)
			offers := []Offer{{Address: "a"}, {Address: "b"}, {Address: "c", Name: "a", Type: model.Float64}}
			for range random.IntN(10) {
				o := Offer{Address: strings.ToValidUTF8(word(), "_"), Name: word(), Type: model.Type(random.IntN(9)), Unit: []string{"bar", "no unit", ""}[random.IntN(3)], Description: word()}
				if random.IntN(3) == 0 {
					o.States = map[int64]string{1: word(), -1: word()}
				}
				offers = append(offers, o)
			}
			var draft bytes.Buffer
			added, err := c.WriteDraft(&draft, s, offers)
			require.NoError(t, err)
			require.NotContains(t, draft.String(), "hunter2")
			require.NoError(t, os.WriteFile(file, draft.Bytes(), 0o644))
			d, err := ReadConfig(file, testKinds())
			require.NoError(t, err, draft.String())
			after, err := d.Source("plc")
			require.NoError(t, err)
			require.Equal(t, len(s.Tags)+added, len(after.Tags))
			require.Equal(t, len(d.Sources), len(c.Sources))
			for i, r := range s.Tags {
				require.Equal(t, r, after.Tags[i])
			}
			require.LessOrEqual(t, len(after.mapping.addresses), after.MaxTags)
			names := map[string]bool{}
			for _, o := range offers {
				r := after.mapping.exact[o.Address]
				require.NotNil(t, r, "%q", o.Address)
				if r.Skip {
					require.Equal(t, "b", o.Address)
					continue
				}
				names[r.name("plc", o.Address, nil)] = true
			}
			require.Equal(t, strings.Contains(layout, "# by hand"), strings.Contains(draft.String(), "# by hand"))
			var again bytes.Buffer
			added, err = d.WriteDraft(&again, after, offers)
			require.NoError(t, err)
			require.Zero(t, added, fmt.Sprint("a second draft has nothing to add to ", names))
		}
	}
}
