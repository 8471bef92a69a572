package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/varvedb/varve/model"
	varvev1 "github.com/varvedb/varve/proto/varve/v1"
	"github.com/varvedb/varve/query"
)

// web is the HTTP door of a running server.
type web struct {
	*running
	url    string
	client *http.Client
}

func startWeb(t testing.TB, o Options) *web {
	s := &web{running: start(t, o)}
	s.open(t)
	return s
}

// open opens the HTTP door.
func (s *web) open(t testing.TB) {
	l, err := s.Listen("127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeWeb(ctx, l) }()
	s.url = "http://" + l.Addr().String()
	if s.options.Security.CertFile != "" {
		s.url = "https://" + l.Addr().String()
	}
	transport := &http.Transport{DisableCompression: true}
	s.client = &http.Client{Transport: transport}
	inner := s.stop
	s.stop = func() {
		transport.CloseIdleConnections()
		cancel()
		if err, ok := <-done; ok {
			require.NoError(t, err)
			close(done)
		}
		inner()
	}
	t.Cleanup(s.stop)
}

// webAnswer is an answer that came whole.
type webAnswer struct {
	code   int
	header http.Header
	body   string
}

// ask sends a request whose headers are pairs, and needs the whole answer.
func (s *web) ask(t testing.TB, method, path, body string, header ...string) webAnswer {
	t.Helper()
	a, err := s.try(t, method, path, body, header...)
	require.NoError(t, err)
	return a
}

func (s *web) try(t testing.TB, method, path, body string, header ...string) (webAnswer, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return webAnswer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return webAnswer{resp.StatusCode, resp.Header, string(b)}, err
}

func (s *web) get(t testing.TB, parameters string, header ...string) webAnswer {
	t.Helper()
	return s.ask(t, "GET", "/api/v1/query?"+parameters, "", header...)
}

// requireRefused needs an error of JSON.
func requireRefused(t testing.TB, a webAnswer, code int, name, says string) {
	t.Helper()
	require.Equal(t, code, a.code, a.body)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	var e struct {
		Error struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &e), a.body)
	require.Equal(t, name, e.Error.Code, a.body)
	require.Contains(t, e.Error.Message, says)
}

const all1970 = "&start=1970-01-01&end=1970-01-02"

func TestOneQuestionInEveryFormat(t *testing.T) {
	s := startWeb(t, Options{})
	nan := math.NaN()
	s.write(t,
		&varvev1.Run{Tag: "a", TimesNs: []int64{1e9, 2e9, 3500000001, 4e9}, Float64: []float64{1.5, math.Copysign(0, -1), nan, 9}, QualityCount: []uint32{3, 1}, QualityCode: []uint32{0, 0x80000000}},
		&varvev1.Run{Tag: "i", TimesNs: []int64{1e9}, Int64: []int64{math.MaxInt64}},
		&varvev1.Run{Tag: "t,x", TimesNs: []int64{1e9}, Text: []string{"=1+1 \"é\"\n"}},
	)
	one := s.get(t, "tags=a"+all1970)
	require.Equal(t, 200, one.code, one.body)
	require.Equal(t, "application/json", one.header.Get("Content-Type"))
	require.Equal(t, "no-store", one.header.Get("Cache-Control"))
	require.Equal(t, "nosniff", one.header.Get("X-Content-Type-Options"))
	require.Equal(t, fmt.Sprint(len(one.body)), one.header.Get("Content-Length"))
	require.Equal(t, `{"columns":[{"name":"time","type":"time"},{"name":"tag","type":"text"},{"name":"value","type":"float64"},{"name":"quality","type":"quality"}],"incomplete":null,"rows":[
{"time":"1970-01-01T00:00:01Z","tag":"a","value":1.5,"quality":"Good"},
{"time":"1970-01-01T00:00:02Z","tag":"a","value":-0.0,"quality":"Good"},
{"time":"1970-01-01T00:00:03.500000001Z","tag":"a","value":"NaN","quality":"Good"},
{"time":"1970-01-01T00:00:04Z","tag":"a","value":9,"quality":"Bad"}
]}
`, one.body)
	require.True(t, json.Valid([]byte(one.body)))

	mixed := s.get(t, "tags=a,i&tag=t,x&limit=1"+all1970, "Accept", "text/csv")
	require.Equal(t, "text/csv; charset=utf-8", mixed.header.Get("Content-Type"))
	require.Equal(t, "time,tag,value,quality\n1970-01-01T00:00:01Z,a,1.5,Good\n1970-01-01T00:00:01Z,i,9223372036854775807,Good\n1970-01-01T00:00:01Z,\"t,x\",\"=1+1 \"\"é\"\"\n\",Good\n", mixed.body)
	lines := s.get(t, "tags=a,i&limit=1&format=ndjson"+all1970, "Accept", "text/csv")
	require.Equal(t, `{"time":"1970-01-01T00:00:01Z","tag":"a","value":1.5,"quality":"Good"}
{"time":"1970-01-01T00:00:01Z","tag":"i","value":"9223372036854775807","quality":"Good"}
`, lines.body)
	document := s.get(t, "tags=a,i,nothing&limit=1&with_seq=true"+all1970)
	requireRefused(t, document, 404, "NOT_FOUND", `tag "nothing"`)
	document = s.get(t, "tags=a,i&limit=1&with_seq=true"+all1970)
	require.Contains(t, document.body, `{"name":"value","type":"any"},{"name":"quality","type":"quality"},{"name":"seq","type":"uint32"}]`)
	require.Contains(t, document.body, `"seq":0}`)

	arrow := s.get(t, "tags=*"+all1970, "Accept", "application/vnd.apache.arrow.stream")
	r, err := ipc.NewReader(strings.NewReader(arrow.body))
	require.NoError(t, err)
	rows := int64(0)
	for r.Next() {
		rows += r.Record().NumRows()
	}
	require.NoError(t, r.Err())
	require.EqualValues(t, 6, rows)
	r.Release()
	parquet := s.get(t, "tags=*"+all1970+"&format=parquet")
	p, err := file.NewParquetReader(strings.NewReader(parquet.body))
	require.NoError(t, err)
	require.EqualValues(t, 6, p.NumRows())
	require.NoError(t, p.Close())

	aggregated := s.get(t, "read=aggregates&tags=a&aggregate=count&aggregate=maximum&every=2s&start=1970-01-01&end=1970-01-01T00:00:04Z&format=ndjson")
	require.Equal(t, `{"time":"1970-01-01T00:00:00Z","tag":"a","count":1,"maximum":1.5,"quality":"UncertainDataSubNormal","percent_good":50}
`, strings.SplitAfter(aggregated.body, "\n")[0], aggregated.body)
	empty := s.get(t, "tags=a&start=1980-01-01&end=1980-01-02")
	require.Equal(t, 200, empty.code)
	require.Contains(t, empty.body, `"rows":[`+"\n]}")

	for _, format := range []string{"ndjson", "csv", "json"} {
		plain := s.get(t, "tags=*"+all1970+"&format="+format)
		require.Empty(t, plain.header.Get("Content-Encoding"))
		require.Equal(t, "Accept, Accept-Encoding", plain.header.Get("Vary"))
		for accept, zipped := range map[string]bool{"gzip": true, "br;q=1, gzip;q=0.5": true, "gzip;q=0": false, "identity": false, "gzip;q=x": false} {
			z := s.get(t, "tags=*"+all1970+"&format="+format, "Accept-Encoding", accept)
			require.Equal(t, zipped, z.header.Get("Content-Encoding") == "gzip", accept)
			if zipped {
				in, err := gzip.NewReader(strings.NewReader(z.body))
				require.NoError(t, err)
				b, err := io.ReadAll(in)
				require.NoError(t, err)
				z.body = string(b)
			}
			require.Equal(t, plain.body, z.body)
		}
	}
	require.Empty(t, s.get(t, "tags=*"+all1970+"&format=arrow", "Accept-Encoding", "gzip").header.Get("Content-Encoding"))
	require.Zero(t, s.engine.MemoryTaken())
}

func TestQuestionsInTheBody(t *testing.T) {
	s := startWeb(t, Options{})
	s.write(t, floats("a", 1e9, 1, 2, 3))
	post := func(body string, header ...string) webAnswer {
		return s.ask(t, "POST", "/api/v1/query?format=csv", body, header...)
	}
	want := "time,tag,value,quality\n1970-01-01T00:00:03Z,a,3,Good\n"
	require.Equal(t, want, post(`{"latest": {"tags": ["a"]}}`).body)
	require.Equal(t, want, post(`{"latest": {"tagIds": [1]}}`, "Content-Type", "application/json; charset=utf-8").body)
	require.Equal(t, want, post(`{"range": {"tags": ["a"], "start_ns": "3000000000", "endNs": 4000000000, "where": [{"operator": "OPERATOR_GREATER", "number": 2}]}}`).body)

	for body, says := range map[string]string{
		`{`:                                "unexpected EOF",
		`[]`:                               "question is not the JSON",
		`{"latest": {"tags": 5}`:           "question is not the JSON",
		`{"nothing": {}}`:                  `unknown field "nothing"`,
		`{"latest":{},"range":{}}`:         "question is not the JSON",
		`{"latest": {"tags": ["a"]}} {}`:   "question is not the JSON",
		`{}`:                               "nothing is asked",
		`{"range": {"tags": ["a"]}}`:       "start",
		`{"latest": {"tags": ["\ud800"]}}`: "question is not the JSON",
		`{"range":{"where":[` + strings.Repeat("{},", 100_000) + `{}]}}`: "question has 100003 objects",
		strings.Repeat(`{"range":`, 100_000):                             "objects",
		strings.Repeat(`[`, 100_000):                                     "question is not the JSON",
	} {
		requireRefused(t, post(body), 400, "INVALID_ARGUMENT", says)
	}
	requireRefused(t, post(`{"latest": {"tags": ["b"]}}`), 404, "NOT_FOUND", `"b"`)
	requireRefused(t, post(`{"range":{"tags":["`+strings.Repeat(`a","`, 100_001)+`a"],"startNs":"0","endNs":"1"}}`), 400, "INVALID_ARGUMENT", "most is 100000")
	requireRefused(t, post(`{"latest": {"tags": ["a"]}}`, "Content-Type", "text/plain"), 415, "INVALID_ARGUMENT", "must be application/json")
	requireRefused(t, post(`{"latest": {"tags": ["a"]}}`, "Content-Type", "application/x-www-form-urlencoded"), 415, "INVALID_ARGUMENT", "must be application/json")
	requireRefused(t, post(`{"latest": {"tags": ["a"]}}`, "Content-Encoding", "gzip"), 415, "INVALID_ARGUMENT", "not compressed")
	requireRefused(t, s.ask(t, "POST", "/api/v1/query?limit=3", `{"latest": {"tags": ["a"]}}`), 400, "INVALID_ARGUMENT", "no parameters but format")
	require.Zero(t, s.engine.MemoryTaken())
}

// TestWhatAnHTTPClientMayNotSend: sizes, methods, paths and headers of strangers.
func TestWhatAnHTTPClientMayNotSend(t *testing.T) {
	s := startWeb(t, Options{StallTimeout: 300 * time.Millisecond})
	s.write(t, floats("a", 1e9, 1))
	large := `{"latest": {"tags": ["` + strings.Repeat("a", maxQuestionBytes) + `"]}}`
	requireRefused(t, s.ask(t, "POST", "/api/v1/query", large), 413, "RESOURCE_EXHAUSTED", "more than 4194304 bytes")
	r, err := http.NewRequestWithContext(testContext(t), "POST", s.url+"/api/v1/query", io.MultiReader(strings.NewReader(large))) // of unknown length
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(r)
	require.NoError(t, err)
	require.Equal(t, 413, resp.StatusCode)
	require.NoError(t, resp.Body.Close())

	for _, method := range []string{"PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"} {
		a := s.ask(t, method, "/api/v1/query?read=latest&tags=a", "")
		require.Equal(t, 405, a.code, method)
	}
	for _, path := range []string{"/", "/api/v1/query/", "/api/v1//query", "/api/v1/nothing", "/metrics", "/api/v1/%71uery/x", "/../etc/passwd"} {
		requireRefused(t, s.ask(t, "GET", path, ""), 404, "NOT_FOUND", "path")
	}
	for parameters, says := range map[string]string{
		"tags=a;b":                "parameters",
		"tags=a&format=xml":       "must be one of json, ndjson",
		"format=csv&format=csv":   "must be one of",
		"tags=%ff%fe&read=latest": "",
		"read=latest&tags=a&x=1":  `"x"`,
		"read=plot&tags=a":        "needs start",
	} {
		a := s.get(t, parameters)
		require.GreaterOrEqual(t, a.code, 400, parameters)
		require.Less(t, a.code, 500, parameters)
		require.Contains(t, a.body, strings.ReplaceAll(says, `"`, `\"`))
	}
	for _, accept := range []string{"image/png", "application/json;q=0", "text/csv;q=7", "x", ";;;,,,", strings.Repeat("a/b,", 2000) + "application/json", "application/vnd.apache.parquet;q=NaN"} {
		requireRefused(t, s.get(t, "read=latest&tags=a", "Accept", accept), 406, "INVALID_ARGUMENT", "must be one of application/json")
	}
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "text/*": "text/csv", "text/html, */*;q=0.1": "application/json",
		"text/csv, application/json": "text/csv", "text/csv;q=0.2, application/x-ndjson;q=0.3": "application/x-ndjson",
		"application/json;q=0, */*": "application/x-ndjson", "TEXT/CSV; header=present": "text/csv", "application/vnd.apache.parquet": "application/vnd.apache.parquet",
	} {
		a := s.get(t, "read=latest&tags=a", "Accept", accept)
		require.Equal(t, 200, a.code, accept)
		require.Contains(t, a.header.Get("Content-Type"), want, accept)
	}
	if a, err := s.try(t, "GET", "/api/v1/query?read=latest&tags=a", "", "X-Large", strings.Repeat("x", 64<<10)); err == nil { // the connection may be gone before the answer is read
		require.Equal(t, 431, a.code)
	}

	raw := func(request string) string {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(c, request)
		require.NoError(t, err)
		b, _ := io.ReadAll(c)
		return string(b)
	}
	require.Contains(t, raw("GET /api/v1/query?read=latest&tags=a HTTP/1.0\r\nHost: localhost\r\n\r\n"), "505 ")
	slow := raw("POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"latest\"")
	require.Contains(t, slow, "408 ")
	require.Contains(t, slow, "did not come in 300ms")
	unread := raw("POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{\"latest\"")
	require.Contains(t, unread, "415 ")
	require.Eventually(t, func() bool { return s.engine.MemoryTaken() == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 200, s.get(t, "read=latest&tags=a").code, "none of it did harm")
}

// TestAnOpenServerIsForThisMachine: a page in a browser may resolve a name of its own to loopback and would be of the same origin then.
func TestAnOpenServerIsForThisMachine(t *testing.T) {
	s := startWeb(t, Options{})
	s.write(t, floats("a", 1e9, 1))
	for _, host := range []string{"evil.example", "evil.example:7421", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:80", "[2001:db8::1]:80"} {
		requireRefused(t, s.get(t, "read=latest&tags=a", "Host", host), 403, "PERMISSION_DENIED", "localhost only")
	}
	for _, host := range []string{"localhost", "localhost:1", "127.0.0.1", "[::1]:7421", "[::1]"} {
		require.Equal(t, 200, s.get(t, "read=latest&tags=a", "Host", host).code, host)
	}
	require.Empty(t, s.get(t, "read=latest&tags=a", "Origin", "https://evil.example").header.Get("Access-Control-Allow-Origin"))
}

func TestTokensAtTheHTTPDoor(t *testing.T) {
	file, token := tokens(t, Read, Write, all)
	var logged safeBuffer
	s := startWeb(t, Options{Security: Security{TokenFile: file}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	paths := []string{"/api/v1/query?read=latest&tags=a", "/api/v1/openapi.json"}
	for _, path := range paths {
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic eDp5", token[Read], "Bearer " + token[Read][:len(token[Read])-4] + "AAAA", "Bearer " + strings.Repeat("y", 8000)} {
			var a webAnswer
			if header == "" {
				a = s.ask(t, "GET", path, "")
			} else {
				a = s.ask(t, "GET", path, "", "Authorization", header)
			}
			requireRefused(t, a, 401, "UNAUTHENTICATED", "token")
			require.Equal(t, []string{"Bearer", `Basic realm="varve: any user, the password is a token", charset="UTF-8"`}, a.header.Values("WWW-Authenticate"))
		}
		requireRefused(t, s.ask(t, "GET", path, "", "Authorization", "Bearer "+token[Write]), 403, "PERMISSION_DENIED", "needs read")
	}
	// Nobody reads the body of a stranger, however large he says it is.
	requireRefused(t, s.ask(t, "POST", "/api/v1/query", `{"latest":{"tags":["a"]}}`), 401, "UNAUTHENTICATED", "token")
	requireRefused(t, s.ask(t, "GET", "/api/v1/query?read=latest&tags=a", "", "Authorization", "Bearer "+token[Read]), 404, "NOT_FOUND", `"a"`)
	require.Equal(t, 200, s.ask(t, "GET", "/api/v1/openapi.json", "", "Authorization", "bearer "+token[all]).code)
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Equal(t, 200, s.ask(t, "GET", path, "").code, "probes are open")
	}
	require.Contains(t, logged.String(), "call refused")
	require.Contains(t, logged.String(), "/api/v1/query")
	for _, secret := range token {
		require.NotContains(t, logged.String(), secret[len(secret)-20:])
	}
}

// TestATokenIsThePasswordOfBasicAuthentication: Excel, Power BI and browsers have a form for a user and a password. What is refused is refused
// as it is with a bearer token.
func TestATokenIsThePasswordOfBasicAuthentication(t *testing.T) {
	file, token := tokens(t, Read, Write)
	var logged safeBuffer
	s := startWeb(t, Options{Security: Security{TokenFile: file}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	ask := func(header ...string) webAnswer { return s.ask(t, "GET", "/api/v1/openapi.json", "", header...) }
	for _, user := range []string{"", "anyone", "größer", "plant\\ana", strings.Repeat("u", 500)} {
		require.Equal(t, 200, ask("Authorization", basic(user+":"+token[Read])).code, user)
	}
	require.Equal(t, 200, ask("Authorization", "bAsIc "+strings.TrimPrefix(basic(":"+token[Read]), "Basic ")).code)
	requireRefused(t, ask("Authorization", basic("ana:"+token[Write])), 403, "PERMISSION_DENIED", "needs read")
	for _, header := range []string{
		"Basic", "Basic ", "Basic ???", basic(""), basic(":"), basic("ana"), basic("ana:x"), basic(token[Read]), basic(token[Read] + ":"), basic("ana:" + token[Read] + ":"),
		basic("ana:" + token[Read] + " "), basic("ana: " + token[Read]), basic("ana:" + token[Read][:len(token[Read])-4] + "AAAA"), basic("ana:" + strings.Repeat("y", 8000)),
		"Digest " + token[Read], token[Read],
	} {
		a := ask("Authorization", header)
		requireRefused(t, a, 401, "UNAUTHENTICATED", "token")
		require.Len(t, a.header.Values("WWW-Authenticate"), 2)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		requireRefused(t, ask("Authorization", basic("ana:"+token[Read]), "Sec-Fetch-Site", site), 403, "PERMISSION_DENIED", "another origin")
		require.Equal(t, 200, ask("Authorization", "Bearer "+token[Read], "Sec-Fetch-Site", site).code, "a page that knows the token was given it")
	}
	require.Equal(t, 200, ask("Authorization", basic("ana:"+token[Read]), "Sec-Fetch-Site", "none").code)
	require.Contains(t, logged.String(), "call refused")
	for _, secret := range token {
		require.NotContains(t, logged.String(), secret[len(secret)-20:])
		require.NotContains(t, logged.String(), basic("ana:" + secret)[20:])
	}
}

func TestTLSAtTheHTTPDoor(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.server()
	s := &web{running: start(t, Options{Security: Security{CertFile: cert, KeyFile: key, ClientCAFile: ca.file}}, ca.dial(ca.client("me")))}
	s.open(t)
	for _, h2 := range []bool{false, true} {
		client := func(certs ...tls.Certificate) *http.Client {
			return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool, Certificates: certs}, ForceAttemptHTTP2: h2, DisableKeepAlives: true}}
		}
		_, err := client().Get(s.url + "/healthz")
		require.Error(t, err, "no certificate")
		resp, err := client(ca.client("grafana")).Get(s.url + "/api/v1/openapi.json")
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, map[bool]int{false: 1, true: 2}[h2], resp.ProtoMajor)
		var doc map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
		require.NoError(t, resp.Body.Close())
	}
	resp, err := http.Get("http" + strings.TrimPrefix(s.url, "https") + "/healthz")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 400, resp.StatusCode, "plain text on a port with TLS")
	http.DefaultClient.CloseIdleConnections()
}

// TestAnswersThatBreakOff: once some of an answer is on its way nothing but its missing end says that it is not whole.
func TestAnswersThatBreakOff(t *testing.T) {
	s := startWeb(t, Options{})
	cause := errors.New("the disk went away")
	h := func(f *format, zip string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := newReply(w, time.Minute)
			out.header.Set("Content-Type", f.media)
			out.breakOff = f.breakOff
			_, err := out.Write(bytes.Repeat([]byte("x"), heldBytes+1))
			require.NoError(t, err)
			if out.end(fmt.Errorf("read: %w", errors.Join(cause, model.ErrTagNotFound))) {
				panic(http.ErrAbortHandler)
			}
			t.Error("an answer that began was ended with a status")
		})
	}
	for i := range formats {
		f := &formats[i]
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{Handler: h(f, ""), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(l) }()
		resp, err := s.client.Get("http://" + l.Addr().String())
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, f.name)
		require.GreaterOrEqual(t, len(b), heldBytes+1, "what was right came")
		require.Equal(t, f.breakOff != nil, bytes.Contains(b, []byte(`"error":{"code":"NOT_FOUND","message":"read: the disk went away`)), f.name)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, server.Close())
		<-done
	}
}

// TestAnswersThatAreEndedAreNotWhole ends answers in their middle: where all of it was held back the status says so, else the missing end.
func TestAnswersThatAreEndedAreNotWhole(t *testing.T) {
	s := startWeb(t, Options{})
	values := make([]float64, 200_000)
	s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	for _, format := range []string{"json", "ndjson", "csv", "parquet"} {
		for _, encoding := range []string{"", "gzip"} {
			a, err := s.httpAnswer(&varvev1.FlightQuestion{Question: &varvev1.FlightQuestion_Range{Range: &varvev1.ReadRangeRequest{Tags: []string{"a"}, StartNs: new(int64), Limit: 1 << 40}}}, formatOf(t, format))
			require.NoError(t, err)
			inner := a.stream
			a.stream = func(ctx context.Context, w io.Writer) error { return inner(ctx, &failingWriter{w, 1 << 20}) }
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				out := newReply(w, time.Minute)
				r.Header.Set("Accept-Encoding", encoding)
				if out.end(s.sendAnswer(r.Context(), out, r, a)) {
					panic(http.ErrAbortHandler)
				}
			})}
			done := make(chan struct{})
			go func() { defer close(done); _ = server.Serve(l) }()
			resp, err := s.client.Get("http://" + l.Addr().String())
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, resp.Body.Close())
			if resp.StatusCode == 200 {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF, format)
				if encoding == "" && format == "ndjson" {
					require.Contains(t, string(b[len(b)-200:]), `{"error":{"code":"INTERNAL","message":`)
				}
			} else { // all of it was held back
				require.Equal(t, 500, resp.StatusCode)
				require.Contains(t, string(b), errBroken.Error())
				require.Empty(t, resp.Header.Get("Content-Encoding"))
			}
			if format != "parquet" && encoding == "" {
				require.Equal(t, 200, resp.StatusCode, "%s: %d bytes are not held back", format, len(b))
			}
			require.NoError(t, server.Close())
			<-done
		}
	}
	require.Zero(t, s.engine.MemoryTaken())
}

var errBroken = errors.New("broken for a test")

// failingWriter fails after some bytes.
type failingWriter struct {
	io.Writer
	left int
}

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errBroken
	}
	return f.Writer.Write(p)
}

func formatOf(t testing.TB, name string) *format {
	for i := range formats {
		if formats[i].name == name {
			return &formats[i]
		}
	}
	t.Fatal(name)
	return nil
}

func TestAnHTTPClientThatStopsReadingLosesItsAnswer(t *testing.T) {
	s := startWeb(t, Options{StallTimeout: 100 * time.Millisecond})
	values := make([]float64, 1_000_000)
	write := func(s *web) {
		s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	}
	write(s)
	for _, format := range []string{"arrow", "csv", "ndjson"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(c, "GET /api/v1/query?tags=a&start=1970-01-01&end=now&format=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", format)
		require.NoError(t, err)
		first := make([]byte, 12)
		_, err = io.ReadFull(c, first)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 200", string(first))
		require.Eventually(t, func() bool { return s.engine.MemoryTaken() == 0 }, 10*time.Second, 10*time.Millisecond, format)
		rest, _ := io.ReadAll(c)
		require.False(t, bytes.HasSuffix(rest, []byte("0\r\n\r\n")), "%s: an answer that was given up looks whole", format)
		require.NoError(t, c.Close())
	}
	// One that reads, however long all of it takes, gets all of it.
	s = startWeb(t, Options{StallTimeout: time.Second})
	write(s)
	resp, err := s.client.Get(s.url + "/api/v1/query?tags=a&start=1970-01-01&end=now&format=csv")
	require.NoError(t, err)
	defer resp.Body.Close()
	rows, b := 0, make([]byte, 1<<20)
	for err == nil {
		var n int
		n, err = io.ReadFull(resp.Body, b)
		rows += bytes.Count(b[:n], []byte("\n"))
		time.Sleep(50 * time.Millisecond)
	}
	_, err = resp.Body.Read(b)
	require.Equal(t, io.EOF, err, "the end came")
	require.Equal(t, len(values)+1, rows)
}

// TestAnHTTPClientThatLeavesEndsItsQuery: whatever the format, what the answer held is given back.
func TestAnHTTPClientThatLeavesEndsItsQuery(t *testing.T) {
	s := startWeb(t, Options{})
	values := make([]float64, 500_000)
	s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	for _, f := range formats {
		ctx, cancel := context.WithCancel(testContext(t))
		r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/api/v1/query?tags=a&start=1970-01-01&end=now&format="+f.name, nil)
		require.NoError(t, err)
		resp, err := s.client.Do(r)
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 100))
		require.NoError(t, err)
		cancel()
		require.NoError(t, resp.Body.Close())
		require.Eventually(t, func() bool { return s.engine.MemoryTaken() == 0 }, 10*time.Second, 10*time.Millisecond, f.name)
	}
}

func TestQueriesOverHTTPUseTheMemoryForQueries(t *testing.T) {
	s := startWeb(t, Options{Query: query.Options{MemoryBytes: 20 << 20}})
	s.write(t, floats("a", 1e9, 1))
	requireRefused(t, s.get(t, "read=latest&tags=a&format=parquet"), 400, "RESOURCE_EXHAUSTED", "its share is")
	release, err := s.engine.Reserve(10 << 20)
	require.NoError(t, err)
	again, err := s.engine.Reserve(8 << 20)
	require.NoError(t, err)
	busy := s.get(t, "read=latest&tags=a")
	requireRefused(t, busy, 429, "RESOURCE_EXHAUSTED", "ask again later")
	require.Equal(t, "1", busy.header.Get("Retry-After"))
	release()
	again()
	require.Equal(t, 200, s.get(t, "read=latest&tags=a").code)
}

func TestADrainRefusesRequestsAndWaitsForAnswers(t *testing.T) {
	s := startWeb(t, Options{})
	values := make([]float64, 300_000)
	s.write(t, &varvev1.Run{Tag: "a", FirstTimeNs: 1, StepNs: 1000, Count: uint32(len(values)), Float64: values})
	resp, err := s.client.Get(s.url + "/api/v1/query?tags=a&start=1970-01-01&end=now&format=csv")
	require.NoError(t, err)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	<-s.drain.Done()
	rows, err := csv.NewReader(resp.Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, len(values)+1, "an answer on its way comes whole")
	require.NoError(t, resp.Body.Close())
	<-stopped

	s = startWeb(t, Options{})
	s.startDrain(errDraining)
	for _, path := range []string{"/readyz", "/api/v1/query?read=latest&tags=a"} {
		refused := s.ask(t, "GET", path, "")
		requireRefused(t, refused, 503, "UNAVAILABLE", "shutting down")
		require.Equal(t, "1", refused.header.Get("Retry-After"))
	}
	require.Equal(t, 200, s.ask(t, "GET", "/healthz", "").code)
}

func TestPatternsInParameters(t *testing.T) {
	s := startWeb(t, Options{})
	s.write(t, floats("P-1", 1e9, 1), floats("P-2", 1e9, 2), floats("Q*", 1e9, 3), floats("Q1", 1e9, 4))
	latest := func(tags string) string {
		return s.get(t, "read=latest&format=csv&tags="+url.QueryEscape(tags)).body
	}
	require.Equal(t, "time,tag,value,quality\n1970-01-01T00:00:01Z,P-2,2,Good\n1970-01-01T00:00:01Z,P-1,1,Good\n", latest("P-2,P-*"))
	require.Equal(t, "time,tag,value,quality\n1970-01-01T00:00:01Z,Q*,3,Good\n", latest("Q*"), "the tag of that name")
	require.Contains(t, latest("Q?"), "Q1")
	requireRefused(t, s.get(t, "read=latest&tags=X*"), 404, "NOT_FOUND", `no tag matches "X*"`)
}

// TestTheDocumentHasEveryRouteAndField holds openapi.json against the routes and the messages: a change of either needs `make generate`.
func TestTheDocumentHasEveryRouteAndField(t *testing.T) {
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Parameters []struct{ Name string } }
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	require.NoError(t, json.Unmarshal(openAPI, &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	s := start(t, Options{})
	n := 0
	for _, r := range s.routes() {
		require.Contains(t, doc.Paths[r.path], strings.ToLower(r.method), r.path)
		n++
	}
	for _, methods := range doc.Paths {
		n -= len(methods)
	}
	require.Zero(t, n, "the document has a way that is no route")
	formatsListed := false
	for _, p := range doc.Paths["/api/v1/query"]["get"].Parameters {
		formatsListed = formatsListed || p.Name == "format"
	}
	require.True(t, formatsListed)
	for _, name := range formatNames() {
		require.Contains(t, string(openAPI), `"`+name+`"`)
	}
	question := (&varvev1.FlightQuestion{}).ProtoReflect().Descriptor()
	for i := range question.Fields().Len() {
		m := question.Fields().Get(i).Message()
		schema := doc.Components.Schemas[string(m.Name())]
		require.Len(t, schema.Properties, m.Fields().Len(), m.Name())
		for k := range m.Fields().Len() {
			require.Contains(t, schema.Properties, m.Fields().Get(k).JSONName(), m.Name())
		}
	}
}

func TestProbesBesideMetrics(t *testing.T) {
	s := start(t, Options{})
	ctx, cancel := context.WithCancel(testContext(t))
	ready := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() { done <- s.ServeMetrics(ctx, "127.0.0.1:0", func(a net.Addr) { ready <- a }) }()
	address := (<-ready).String()
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + address + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		code, body := get(path)
		require.Equal(t, 200, code)
		require.Equal(t, "ok\n", body)
	}
	s.startDrain(errDraining)
	code, _ := get("/healthz")
	require.Equal(t, 200, code)
	code, body := get("/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, body, "shutting down")
	http.DefaultClient.CloseIdleConnections()
	cancel()
	require.NoError(t, <-done)
}

func FuzzQuestionJSON(f *testing.F) {
	f.Add([]byte(`{"range": {"tags": ["a"], "startNs": "1", "where": [{"operator": "OPERATOR_GREATER", "number": "NaN"}]}}`))
	f.Add([]byte(`{"comparison": {"forecast": {"tagIds": [1]}, "summary": true}}`))
	f.Add([]byte(`{"wide":{"every":"1d","\u0074ags":["\"{{{{"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := parseQuestion(body)
		if err != nil {
			requireCode(t, codes.InvalidArgument, toStatus(err), "")
			return
		}
		require.NotNil(t, asked(m))
		tagsOf(asked(m))
	})
}
