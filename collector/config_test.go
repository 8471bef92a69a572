package collector

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func testKinds() []Kind {
	return []Kind{(&script{runs: make(chan scriptedRun)}).kind()}
}

const smallConfig = `collector: plant
destinations:
  - address: 127.0.0.1:7420
queue:
  dir: q
sources:
  - name: plc
    type: scripted
`

func TestSmallConfig(t *testing.T) {
	c, err := ParseConfig("c.yaml", []byte(smallConfig), testKinds())
	require.NoError(t, err)
	require.Equal(t, "main", c.Destinations[0].Name)
	require.Equal(t, "applied", c.Destinations[0].Ack)
	require.Equal(t, Size(1<<30), c.Queue.MaxBytes)
	require.Equal(t, "block", c.Queue.Full)
	r, groups := c.Sources[0].mapping.rule("any/thing at all")
	require.Equal(t, "plc.any/thing at all", r.name("plc", "any/thing at all", groups))
}

// Every error has its line and says what to do.
func TestConfigErrors(t *testing.T) {
	t.Setenv("VARVE_TEST_SECRET", "hunter2")
	head := "collector: plant\ndestinations:\n  - address: 127.0.0.1:7420\nqueue:\n  dir: q\n" // 5 lines
	source := head + "sources:\n  - name: plc\n    type: scripted\n"                           // 8 lines
	tags := source + "    tags:\n"                                                             // 9 lines
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                          {"", []string{"c.yaml:1: the file is empty"}},
		"no YAML":                        {"a: [", []string{"c.yaml:1: "}},
		"tab":                            {"a:\n\tb: 1\n", []string{"c.yaml:2: "}},
		"unknown key":                    {source + "    tagz: []\n", []string{`c.yaml:9: unknown key "tagz": must be one of name, type, settings, tags, max_tags, exceptions, clock`}},
		"unknown key deep":               {tags + "      - address: a\n        adress: b\n", []string{`c.yaml:11: unknown key "adress"`}},
		"key twice":                      {source + "    name: again\n", []string{`c.yaml:9: mapping key "name" already defined at line 7`}},
		"no source":                      {head, []string{"there is no source"}},
		"no destination":                 {"collector: p\nqueue: {dir: q}\nsources:\n  - {name: a, type: scripted}\n", []string{"there is no destination"}},
		"no queue":                       {"collector: p\ndestinations: [{address: 'h:1'}]\nsources:\n  - {name: a, type: scripted}\n", []string{"give dir"}},
		"collector":                      {strings.Replace(source, "plant", "a b", 1), []string{`c.yaml:1: collector "a b"`}},
		"address":                        {strings.Replace(source, "127.0.0.1:7420", "host", 1), []string{`c.yaml:3: address "host": must be HOST:PORT`}},
		"ack":                            {strings.Replace(source, "7420\n", "7420\n    ack: perhaps\n", 1), []string{`c.yaml:4: ack "perhaps": must be applied or archived`}},
		"two destinations without names": {strings.Replace(source, "queue:", "  - address: h:1\nqueue:", 1), []string{`c.yaml:3: destination name "": must be`, `c.yaml:4: destination name "": must be`}},
		"policy":                         {strings.Replace(source, "dir: q\n", "dir: q\n  full: never\n", 1), []string{`c.yaml:6: full "never": must be block, drop-oldest or thin`}},
		"size":                           {strings.Replace(source, "dir: q\n", "dir: q\n  max_bytes: 10 lots\n", 1), []string{`c.yaml:6: "10 lots" is no size such as 64MiB or 1GB`}},
		"small":                          {strings.Replace(source, "dir: q\n", "dir: q\n  max_bytes: 10kB\n", 1), []string{`c.yaml:6: max_bytes 10000: must be at least 1MiB`}},
		"type":                           {strings.Replace(source, "type: scripted", "type: modbuz", 1), []string{`c.yaml:8: source type "modbuz": must be one of scripted`}},
		"source twice":                   {source + "  - name: plc\n    type: scripted\n", []string{"c.yaml:9: source plc stands on line 7 already"}},
		"source name":                    {strings.Replace(source, "plc", "p/c", 1), []string{`c.yaml:7: source name "p/c"`}},
		"reserved name":                  {strings.Replace(source, "plc", "to", 1), []string{`c.yaml:7: source name "to" is`}},
		"setting":                        {source + "    settings:\n      devise: x\n", []string{`c.yaml:10: unknown key "devise": must be one of device, port, slaves, every, pass`}},
		"setting type":                   {source + "    settings:\n      device: x\n      port: often\n", []string{`c.yaml:11: "often" stands where a whole number from 0 to 65535 should`}},
		"setting time":                   {source + "    settings:\n      every: 5\n      device: [1]\n", []string{`c.yaml:11: a list stands where text should`}},
		"setting list":                   {source + "    settings:\n      slaves: 5\n", []string{`c.yaml:10: "5" stands where a list: lines that begin with - should`}},
		"setting check":                  {source + "    settings:\n      slaves:\n        - id: 1\n        - id: 0\n", []string{`c.yaml:12: id 0: must be from 1`}},
		"setting open":                   {source + "    settings:\n      port: 1\n      device: broken\n", []string{`c.yaml:11: device broken: is none`}},
		"secret":                         {source + "    settings:\n      pass: hunter2\n", []string{`c.yaml:10: a secret must not stand in the configuration`}},
		"secret unset":                   {source + "    settings:\n      pass: ${VARVE_TEST_NONE}\n", []string{`c.yaml:10: the environment has no variable VARVE_TEST_NONE`}},
		"secret file":                    {source + "    settings:\n      pass: file:/no/such\n", []string{`c.yaml:10: stat /no/such: no such file or directory`}},
		"token":                          {strings.Replace(source, "127.0.0.1:7420\n", "far:7420\n    token: ${VARVE_TEST_SECRET}\n", 1), []string{`c.yaml:4: the token would cross the network to far:7420 in the clear; add tls`}},
		"tls":                            {strings.Replace(source, "7420\n", "7420\n    tls:\n      cert: a.pem\n", 1), []string{`c.yaml:4: cert and key go together`}},
		"no address":                     {tags + "      - tag: a\n", []string{`c.yaml:10: give exactly one of address, match and regexp`}},
		"two addresses":                  {tags + "      - address: a\n        match: b\n", []string{`c.yaml:10: give exactly one of address, match and regexp`}},
		"regexp":                         {tags + "      - tag: a\n        regexp: '('\n", []string{`c.yaml:11: regexp "(": `}},
		"glob":                           {tags + "      - tag: a\n        match: 'a[b'\n", []string{`c.yaml:11: match "a[b": it has a [ without its ]`}},
		"template":                       {tags + "      - address: a\n        tag: '{sauce}.x'\n", []string{`c.yaml:11: tag "{sauce}.x": {sauce} is none of source, collector, address and the groups of its pattern`}},
		"group":                          {tags + "      - match: a/*\n        tag: '{2}'\n", []string{`c.yaml:11: tag "{2}": {2}: its pattern has 1 groups`}},
		"brace":                          {tags + "      - match: a/*\n        tag: 'x{'\n", []string{`c.yaml:11: tag "x{" has a { without its }; write {{ for a brace`}},
		"other brace":                    {tags + "      - match: a/*\n        tag: 'x}'\n", []string{`c.yaml:11: tag "x}" has a } without its {`}},
		"tag name":                       {tags + "      - address: a\n        tag: ' x'\n", []string{`c.yaml:11: name " x" begins or ends with white space`}},
		"type of tag":                    {tags + "      - address: a\n        type: real\n", []string{`c.yaml:11: `}},
		"state":                          {tags + "      - address: a\n        type: state\n", []string{`c.yaml:11: type state and state_set go together`}},
		"factor":                         {tags + "      - address: a\n        factor: 0\n", []string{`c.yaml:11: factor 0: must be a finite number, and the factor not 0`}},
		"scaled integer":                 {tags + "      - address: a\n        factor: 2\n        type: int64\n", []string{`c.yaml:12: factor and offset make numbers with a fraction`}},
		"exception":                      {tags + "      - address: a\n        exc_dev: -1\n", []string{`c.yaml:11: deviation -1 must be finite and not negative`}},
		"exception time":                 {tags + "      - address: a\n        exc_max: 1m\n", []string{`c.yaml:10: exc_min and exc_max need exc_dev`}},
		"exception times":                {tags + "      - address: a\n        exc_dev: 1\n        exc_min: 2m\n        exc_max: 1m\n", []string{`c.yaml:11: minimum time 2m0s is longer than maximum time 1m0s`}},
		"stale":                          {tags + "      - address: a\n        stale_after: soon\n", []string{`c.yaml:11: "soon" stands where a time with its unit, such as 500ms, 10s or 5m should`}},
		"address twice":                  {tags + "      - address: a\n        tag: x\n      - address: a\n        tag: y\n", []string{`c.yaml:12: address "a" stands on line 10 already`}},
		"tag twice":                      {tags + "      - address: a\n        tag: x\n      - address: b\n        tag: x\n", []string{`tag x is that of address`}},
		"several":                        {tags + "      - address: a\n        factor: 0\n      - match: '['\n", []string{`c.yaml:11: factor 0`, `c.yaml:12: match "["`}},
		"health":                         {source + "health:\n  every: 1ms\n", []string{`c.yaml:10: every 1ms: must be at least 1s`}},
		"addresses":                      {tags + "      - {address: a}\n      - {address: bad1}\n      - {match: b*}\n      - {address: bad2}\n  - {name: two, type: scripted, tags: [{address: bad3}]}\n", []string{"c.yaml:11: bad1 is none", "c.yaml:13: bad2 is none", "c.yaml:14: bad3 is none"}},
		"clock":                          {source + "    clock:\n      ahead: -1s\n", []string{`c.yaml:9: ahead -1s and behind 0s: must not be negative`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig("c.yaml", []byte(c.text), testKinds())
			require.ErrorIs(t, err, ErrConfig)
			for _, w := range c.want {
				require.Contains(t, err.Error(), w)
			}
			require.NotContains(t, err.Error(), "hunter2", "a secret is never told")
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("hunter2\n"), 0o600))
	c, err := ParseConfig("c.yaml", []byte(strings.Replace(smallConfig, "7420\n", "7420\n    token: file:"+file+"\n", 1)), testKinds())
	require.NoError(t, err)
	s := c.Destinations[0].Token
	require.Equal(t, "hunter2", s.Value())
	for _, shown := range []string{s.String(), s.GoString(), s.LogValue().String()} {
		require.Equal(t, "file:"+file, shown)
	}
}

// A hostile file must not take the memory of the machine, nor the process down.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(smallConfig))
	f.Add([]byte("a: &a [*a]\nsources: *a\n"))
	f.Add([]byte("<<: {collector: x}\nsources:\n  - <<: [{name: a}]\n    tags: [{match: '**[a-z]?', tag: '{1}{{'}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("c.yaml", text, testKinds())
		if err != nil {
			require.ErrorIs(t, err, ErrConfig)
			require.NotContains(t, err.Error(), "c.yaml:0:")
			return
		}
		require.NotEmpty(t, c.Sources)
	})
}
