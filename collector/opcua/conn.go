package opcua

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// conn is a session with a server, or the attempt at one. The library's own reconnecting and subscribing are not used: what was missed must be known.
type conn struct {
	client     *opcua.Client
	url        string
	timeout    time.Duration
	namespaces []string
	limits     limits
	status     status
}

// limits are how much one call may have.
type limits struct{ items, reads, history, browse int }

var errShutdown = errors.New("the server shuts down")

// ask sends a request and waits for its answer, for as long as a server may take.
func ask[R ua.Response](ctx context.Context, c *conn, req ua.Request) (R, error) {
	return askFor[R](ctx, c, req, c.timeout)
}

func askFor[R ua.Response](ctx context.Context, c *conn, req ua.Request, patience time.Duration) (res R, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = c.client.Send(ctx, req, func(v ua.Response) error {
		r, ok := v.(R)
		if !ok {
			return fmt.Errorf("the server answers %T with %T", req, v)
		}
		res = r
		return nil
	})
	if err == nil && any(res) == nil {
		err = fmt.Errorf("the server answers %T with nothing", req)
	}
	return res, err
}

// endpoint is the way into a server that the settings want.
func (x *source) endpoint(ctx context.Context, url string) (*ua.EndpointDescription, error) {
	all, err := opcua.GetEndpoints(ctx, url, opcua.DialTimeout(x.s.Timeout), opcua.RequestTimeout(x.s.Timeout))
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("it closed the connection, or what it sends is no message of OPC UA: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for its endpoints: %w", url, err)
	}
	mode, policy := modes[x.s.Mode], policies[x.s.Security]
	if x.s.Security == none {
		mode = ua.MessageSecurityModeNone
	}
	var fit []*ua.EndpointDescription
	var offers []string
	for _, e := range all {
		if e == nil {
			continue
		}
		offers = append(offers, fmt.Sprintf("%s %s", short(e.SecurityPolicyURI), e.SecurityMode))
		known := false
		for name, p := range policies {
			known = known || name != none && p == e.SecurityPolicyURI || x.s.Security == none && p == e.SecurityPolicyURI
		}
		if e.SecurityMode == mode && known && (policy == "" || policy == e.SecurityPolicyURI) {
			fit = append(fit, e)
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("%s offers %q, the settings ask for security %s, mode %s", url, offers[:min(len(offers), 20)], x.s.Security, cmp.Or(x.s.Mode, "sign_and_encrypt"))
	}
	return slices.MaxFunc(fit, func(a, b *ua.EndpointDescription) int {
		takes := func(e *ua.EndpointDescription) int { return min(tokenOf(e, x.s.User.kind())+1, 1) }
		return cmp.Or(cmp.Compare(takes(a), takes(b)), cmp.Compare(a.SecurityLevel, b.SecurityLevel))
	}), nil
}

// short is the name of a security policy.
func short(uri string) string {
	for name, p := range policies {
		if p == uri && name != "best" {
			return name
		}
	}
	return uri
}

// longestAnswer is how long the library waits for an answer, to a publish request at most; other calls have times of their own.
func longestAnswer(s *Settings) time.Duration {
	return max(s.Timeout, min(6*s.KeepAlive, 10*time.Minute), time.Minute)
}

// entry is how a connection by an endpoint is opened, and its session.
type entry struct {
	options []opcua.Option
	session uasc.SessionConfig
	server  []byte // the certificate that was found to be trusted; nil where none is needed
	chain   bool   // others stood behind it
}

func (x *source) entry(e *ua.EndpointDescription) (*entry, error) {
	in := &entry{
		options: []opcua.Option{opcua.AutoReconnect(false), opcua.DialTimeout(x.s.Timeout), opcua.RequestTimeout(longestAnswer(&x.s))},
		session: uasc.SessionConfig{
			SessionName: "varve " + x.env.Name, SessionTimeout: x.s.Lifetime, UserTokenSignature: &ua.SignatureData{},
			ClientDescription: &ua.ApplicationDescription{
				ApplicationURI: "urn:varve:collector:" + x.env.Name, ProductURI: "urn:varve", ApplicationName: ua.NewLocalizedText("Varve collector"),
				ApplicationType: ua.ApplicationTypeClient,
			},
		},
	}
	secret, err := in.user(x.s.User, e)
	if err != nil {
		return nil, err
	}
	secured := e.SecurityMode != ua.MessageSecurityModeNone
	if secured || secret { // what goes to a server in secret must go to the right one
		application := ""
		if e.Server != nil {
			application = e.Server.ApplicationURI
		}
		if in.server, err = x.pki.trusts(e.ServerCertificate, application, x.env.Now()); err != nil {
			return nil, err
		}
		in.chain = len(e.ServerCertificate) > len(in.server)
		e.ServerCertificate = in.server
	}
	if secured {
		cert, key, err := x.pki.own()
		if err != nil {
			return nil, err
		}
		in.options = append(in.options, opcua.Certificate(cert), opcua.PrivateKey(key))
		if parsed, err := x509.ParseCertificate(cert); err == nil && len(parsed.URIs) > 0 {
			in.session.ClientDescription.ApplicationURI = parsed.URIs[0].String()
		}
	}
	in.options = append(in.options, opcua.SecurityFromEndpoint(e, ua.UserTokenTypeAnonymous))
	return in, nil
}

// kind is how a user is proven; nil is anonymous.
func (u *User) kind() ua.UserTokenType {
	switch {
	case u == nil:
		return ua.UserTokenTypeAnonymous
	case u.Name != "":
		return ua.UserTokenTypeUserName
	}
	return ua.UserTokenTypeCertificate
}

// tokenOf is the safest of an endpoint's ways to prove a user of a kind; -1 for none.
func tokenOf(e *ua.EndpointDescription, kind ua.UserTokenType) int {
	best, most := -1, 0
	for i, t := range e.UserIdentityTokens {
		if t == nil || t.TokenType != kind {
			continue
		}
		rank := 2 // of a policy that may not be asked for by name: its encryption is better than none
		switch policy := cmp.Or(t.SecurityPolicyURI, e.SecurityPolicyURI); {
		case policy == ua.SecurityPolicyURINone:
			rank = 1
		case short(policy) != policy:
			rank = 3
		}
		if rank > most {
			best, most = i, rank
		}
	}
	return best
}

// user says who logs on. secret says that it is proven by something that is encrypted for the server's certificate, or signed for it.
func (in *entry) user(u *User, e *ua.EndpointDescription) (secret bool, err error) {
	kind := u.kind()
	i := tokenOf(e, kind)
	if i < 0 {
		return false, fmt.Errorf("the server's endpoint takes no users of kind %s", kind)
	}
	id := e.UserIdentityTokens[i].PolicyID
	policy := cmp.Or(e.UserIdentityTokens[i].SecurityPolicyURI, e.SecurityPolicyURI)
	in.session.AuthPolicyURI = policy
	switch kind {
	case ua.UserTokenTypeAnonymous:
		in.session.UserIdentityToken = &ua.AnonymousIdentityToken{PolicyID: id}
		return false, nil
	case ua.UserTokenTypeUserName:
		if policy == ua.SecurityPolicyURINone && e.SecurityMode != ua.MessageSecurityModeSignAndEncrypt {
			return false, errors.New("the server wants the password in the clear: use a secured endpoint")
		}
		in.session.UserIdentityToken, in.session.AuthPassword = &ua.UserNameIdentityToken{PolicyID: id, UserName: u.Name}, u.Password.Value()
		return true, nil
	}
	cert, key, err := readPair(u.Cert, u.Key)
	if err != nil {
		return false, err
	}
	in.session.UserIdentityToken = &ua.X509IdentityToken{PolicyID: id, CertificateData: cert}
	in.options = append(in.options, opcua.AuthPrivateKey(key))
	return true, nil
}

// dial connects, and goes on with a session where one is given that the server still has, else with a new one. resumed says which. The caller
// closes it.
func (x *source) dial(ctx context.Context, url string, session *opcua.Session) (c *conn, resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*x.s.Timeout)
	defer cancel()
	e, err := x.endpoint(ctx, url)
	if err != nil {
		return nil, false, err
	}
	in, err := x.entry(e)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", url, err)
	}
	client, err := opcua.NewClient(url, in.options...)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", url, err)
	}
	c = &conn{client: client, url: url, timeout: x.s.Timeout}
	if err := client.Dial(ctx); err != nil {
		return nil, false, fmt.Errorf("connect to %s: %w", url, in.explained(err))
	}
	if session != nil && client.ActivateSession(ctx, session) == nil && client.Session() != nil {
		resumed = true
	} else if err := c.logOn(ctx, in); err != nil {
		c.drop()
		return nil, false, fmt.Errorf("log on at %s: %w", url, err)
	}
	if err := c.learn(ctx); err != nil {
		if resumed {
			c.drop()
		} else {
			c.close()
		}
		return nil, false, fmt.Errorf("%s: %w", url, err)
	}
	return c, resumed, nil
}

// explained says what may be behind an error of opening a channel. What gopcua v0.8.0 cannot read it passes over, and waits.
func (in *entry) explained(err error) error {
	if in.chain && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server shows who signed its certificate along with it; if it opens channels so, the client cannot read that: have it send its own certificate alone: %w", err)
	}
	return err
}

// logOn makes a session.
func (c *conn) logOn(ctx context.Context, in *entry) error {
	session, err := c.client.CreateSession(ctx, &in.session)
	switch {
	case err != nil:
		return err
	case session == nil: // the library says so
		return errors.New("the server's signature is not that of its certificate")
	case in.server != nil && !bytes.Equal(certificateOf(session), in.server): // a password would be encrypted for that one (Part 4, 5.6.2)
		return fmt.Errorf("the server logs on with another certificate than it shows: %w", ErrUntrusted)
	}
	if err := c.client.ActivateSession(ctx, session); err != nil {
		return err
	}
	if c.client.Session() == nil {
		return errors.New("the session could not be signed")
	}
	return nil
}

// certificateOf is the certificate that a server makes a session with. The library keeps it to itself.
func certificateOf(s *opcua.Session) []byte {
	v := reflect.ValueOf(s).Elem().FieldByName("serverCertificate")
	if v.Kind() != reflect.Slice {
		return nil
	}
	return v.Bytes()
}

// drop closes the connection and leaves the session to the server, for as long as it keeps it.
func (c *conn) drop() *opcua.Session {
	s, _ := c.client.DetachSession(context.Background()) // it has no error
	go c.client.Close(context.Background())              // a network that is silent must not hold up the next attempt
	return s
}

// close ends the session and the connection.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), min(c.timeout, 2*time.Second))
	defer cancel()
	_ = c.client.CloseSession(ctx) // the server ends it by itself otherwise
	c.drop()
}

// learn asks what must be known of a server before anything else.
func (c *conn) learn(ctx context.Context) error {
	var err error
	if c.status, err = c.readStatus(ctx); err != nil {
		return fmt.Errorf("read the server's state: %w", err)
	}
	if c.status.state == ua.ServerStateShutdown {
		return errShutdown
	}
	c.namespaces = c.status.namespaces
	c.limits = limits{items: 1000, reads: 500, history: 20, browse: 100}
	of := []*int{&c.limits.items, &c.limits.reads, &c.limits.history, &c.limits.browse}
	values, err := c.read(ctx, ua.AttributeIDValue,
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall),
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead),
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData),
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse))
	if err != nil {
		return fmt.Errorf("read the server's limits: %w", err)
	}
	for i, v := range values {
		if n, ok := valueOf(v).(uint32); ok && n > 0 {
			*of[i] = min(*of[i], int(min(n, 1<<20)))
		}
	}
	return nil
}

// status is what a server says of itself. What it does not say is as if all were well.
type status struct {
	state      ua.ServerState
	level      uint8 // ServiceLevel: 200 and above is healthy
	shutdown   uint32
	namespaces []string
	now        int64 // by its clock; 0 where it does not say
}

const healthy = 200

func (c *conn) readStatus(ctx context.Context) (s status, err error) {
	values, err := c.read(ctx, ua.AttributeIDValue,
		ua.NewNumericNodeID(0, id.Server_ServerStatus_State), ua.NewNumericNodeID(0, id.Server_ServiceLevel),
		ua.NewNumericNodeID(0, id.Server_ServerStatus_SecondsTillShutdown), ua.NewNumericNodeID(0, id.Server_NamespaceArray),
		ua.NewNumericNodeID(0, id.Server_ServerStatus_CurrentTime))
	if err != nil {
		return s, err
	}
	if v, ok := valueOf(values[0]).(int32); ok {
		s.state = ua.ServerState(v)
	}
	s.level = 255
	if v, ok := valueOf(values[1]).(uint8); ok {
		s.level = v
	}
	s.shutdown, _ = valueOf(values[2]).(uint32)
	s.namespaces, _ = valueOf(values[3]).([]string)
	if t, ok := valueOf(values[4]).(time.Time); ok {
		s.now, _ = instant(t, 0)
	}
	return s, nil
}

// valueOf is the value of a data value that is not Bad, else nil.
func valueOf(d *ua.DataValue) any {
	if d == nil || d.Value == nil || d.Status>>30 >= 2 {
		return nil
	}
	return d.Value.Value()
}

// read reads an attribute of nodes, in calls that are not too large. There are as many values as nodes.
func (c *conn) read(ctx context.Context, attribute ua.AttributeID, nodes ...*ua.NodeID) (out []*ua.DataValue, err error) {
	most := c.limits.reads
	if most == 0 {
		most = len(nodes)
	}
	for part := range slices.Chunk(nodes, max(most, 1)) {
		req := &ua.ReadRequest{TimestampsToReturn: ua.TimestampsToReturnBoth}
		for _, n := range part {
			req.NodesToRead = append(req.NodesToRead, &ua.ReadValueID{NodeID: n, AttributeID: attribute, DataEncoding: &ua.QualifiedName{}})
		}
		res, err := ask[*ua.ReadResponse](ctx, c, req)
		if err != nil {
			return nil, err
		}
		if len(res.Results) != len(part) {
			return nil, fmt.Errorf("%d values came for %d nodes", len(res.Results), len(part))
		}
		out = append(out, res.Results...)
	}
	return out, nil
}
