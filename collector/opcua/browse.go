package opcua

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/varvedb/varve/collector"
	"github.com/varvedb/varve/model"
)

const (
	mostNodes    = 1_000_000 // that are looked at
	mostElements = 1000      // of an array that are offered
	mostDepth    = 64
	mostPages    = 10_000 // of one node's references
	pageNodes    = 1000
)

// seen is a node that browsing came by.
type seen struct {
	id       *ua.NodeID
	path     []string
	variable bool
	about    string // its description
	typ      *ua.NodeID
	lengths  []uint32 // of an array; nil for a single value
	units    *ua.NodeID
	states   *ua.NodeID
}

// walk is one Browse.
type walk struct {
	*conn
	visited map[string]bool
	kinds   map[string]kind // of data types, by node id
}

// kind is what a data type is here.
type kind struct {
	typ    model.Type
	states map[int64]string
}

// Browse is part of collector.Browser.
func (x *source) Browse(ctx context.Context, at string, each func(collector.Offer) error) error {
	r := &run{source: x, place: x.readPlace(), elements: map[*point]bool{}}
	c, _, err := r.reach(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return walkFrom(ctx, c, at, r.place.Namespaces, each)
}

// walkFrom calls each for the variables below at, all but the server's own state where it is empty.
func walkFrom(ctx context.Context, c *conn, at string, known []string, each func(collector.Offer) error) error {
	start := &seen{id: ua.NewNumericNodeID(0, id.ObjectsFolder)}
	w := &walk{conn: c, visited: map[string]bool{}, kinds: map[string]kind{}}
	if at == "" {
		w.visited[ua.NewNumericNodeID(0, id.Server).String()] = true // its own state is not the plant's
	} else {
		n, err := parseNode(at)
		if err != nil {
			return err
		}
		if start.id, err = n.id(c.namespaces, known); err != nil {
			return err
		}
	}
	w.visited[start.id.String()] = true
	level := []*seen{start}
	for depth := 0; len(level) > 0; depth++ {
		if depth == mostDepth {
			return fmt.Errorf("nodes lie more than %d deep", mostDepth)
		}
		var next []*seen
		for part := range slices.Chunk(level, c.limits.browse) {
			below, err := w.below(ctx, part)
			if err != nil {
				return err
			}
			next = append(next, below...)
			if err := w.offer(ctx, part, each); err != nil { // its properties are known by now
				return err
			}
		}
		level = next
	}
	return nil
}

// below is what hangs below nodes; properties are noted at the nodes themselves.
func (w *walk) below(ctx context.Context, nodes []*seen) (out []*seen, err error) {
	req := &ua.BrowseRequest{View: &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)}, RequestedMaxReferencesPerNode: pageNodes}
	for _, n := range nodes {
		req.NodesToBrowse = append(req.NodesToBrowse, &ua.BrowseDescription{
			NodeID: n.id, BrowseDirection: ua.BrowseDirectionForward, ReferenceTypeID: ua.NewNumericNodeID(0, id.HierarchicalReferences), IncludeSubtypes: true,
			NodeClassMask: uint32(ua.NodeClassObject | ua.NodeClassVariable), ResultMask: uint32(ua.BrowseResultMaskAll),
		})
	}
	res, err := ask[*ua.BrowseResponse](ctx, w.conn, req)
	if err != nil {
		return nil, fmt.Errorf("browse %d nodes: %w", len(nodes), err)
	}
	if len(res.Results) != len(nodes) {
		return nil, fmt.Errorf("browse %d nodes: %d results came", len(nodes), len(res.Results))
	}
	for k, result := range res.Results {
		for page := 0; result != nil; page++ {
			for _, ref := range result.References {
				if x := w.follow(nodes[k], ref); x != nil {
					out = append(out, x)
				}
			}
			if len(w.visited) > mostNodes || page > mostPages {
				return nil, fmt.Errorf("the server has more than %d nodes: browse parts of it, with --at", mostNodes)
			}
			if len(result.ContinuationPoint) == 0 {
				break
			}
			more, err := ask[*ua.BrowseNextResponse](ctx, w.conn, &ua.BrowseNextRequest{ContinuationPoints: [][]byte{result.ContinuationPoint}})
			if err != nil {
				return nil, fmt.Errorf("browse %s further: %w", nodes[k].id, err)
			}
			if result = nil; len(more.Results) > 0 {
				result = more.Results[0]
			}
		}
	}
	return out, nil
}

// follow is the node of a reference, nil for one that is not gone to.
func (w *walk) follow(from *seen, ref *ua.ReferenceDescription) *seen {
	if ref == nil || ref.NodeID == nil || ref.NodeID.NodeID == nil || ref.NodeID.ServerIndex != 0 || ref.BrowseName == nil {
		return nil
	}
	node := ua.NewNodeIDFromExpandedNodeID(ref.NodeID)
	if ref.ReferenceTypeID != nil && ref.ReferenceTypeID.Namespace() == 0 && ref.ReferenceTypeID.IntID() == id.HasProperty {
		switch ref.BrowseName.Name {
		case "EngineeringUnits":
			from.units = node
		case "EnumStrings", "EnumValues":
			from.states = node
		}
		return nil
	}
	if w.visited[node.String()] {
		return nil
	}
	w.visited[node.String()] = true
	return &seen{id: node, path: append(slices.Clip(from.path), strings.TrimSpace(text(ref.BrowseName.Name))), variable: ref.NodeClass == ua.NodeClassVariable}
}

// offer tells of the variables among nodes.
func (w *walk) offer(ctx context.Context, nodes []*seen, each func(collector.Offer) error) error {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *seen) bool { return !n.variable })
	if len(nodes) == 0 {
		return nil
	}
	if err := w.attributes(ctx, nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		k, err := w.kindOf(ctx, n.typ, 0)
		if err != nil {
			return err
		}
		o := collector.Offer{Address: addressOf(n.id, w.namespaces), Name: strings.Join(n.path, "."), Type: k.typ, States: k.states, Description: n.about}
		if o.Unit, o.Description, err = w.unit(ctx, n.units, o.Description); err != nil {
			return err
		}
		if n.states != nil {
			if o.States, err = w.statesOf(ctx, n.states); err != nil {
				return err
			}
		}
		if k.typ == 0 {
			continue // a structure
		}
		if n.lengths == nil || k.typ == model.Bytes && len(n.lengths) == 1 {
			if err := each(o); err != nil {
				return err
			}
			continue
		}
		for _, e := range elements(n.lengths) {
			x := o
			x.Address, x.Name = o.Address+e, o.Name+e
			if err := each(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// elements are the first of an array, as they stand behind an address.
func elements(lengths []uint32) (out []string) {
	total := uint64(1)
	for _, n := range lengths {
		total = min(total*uint64(n), mostElements)
	}
	for k := range total {
		at := make([]string, len(lengths))
		for d, rest := len(lengths)-1, k; d >= 0; d-- {
			at[d] = strconv.FormatUint(rest%uint64(lengths[d]), 10)
			rest /= uint64(lengths[d])
		}
		out = append(out, "["+strings.Join(at, ",")+"]")
	}
	return out
}

// attributes reads what a variable says of itself.
func (w *walk) attributes(ctx context.Context, nodes []*seen) error {
	ids := make([]*ua.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.id
	}
	values := map[ua.AttributeID][]*ua.DataValue{}
	for _, a := range []ua.AttributeID{ua.AttributeIDDataType, ua.AttributeIDValueRank, ua.AttributeIDArrayDimensions, ua.AttributeIDDescription} {
		v, err := w.read(ctx, a, ids...)
		if err != nil {
			return fmt.Errorf("read what %d nodes are: %w", len(nodes), err)
		}
		values[a] = v
	}
	for i, n := range nodes {
		n.typ, _ = valueOf(values[ua.AttributeIDDataType][i]).(*ua.NodeID)
		if d, ok := valueOf(values[ua.AttributeIDDescription][i]).(*ua.LocalizedText); ok {
			n.about = strings.TrimSpace(text(d.Text))
		}
		if rank, ok := valueOf(values[ua.AttributeIDValueRank][i]).(int32); !ok || rank < 0 { // a single value, or it may be
			continue
		}
		n.lengths, _ = valueOf(values[ua.AttributeIDArrayDimensions][i]).([]uint32)
		if len(n.lengths) == 0 || slices.Contains(n.lengths, 0) {
			if err := w.measure(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure finds how long an array is by its value of now.
func (w *walk) measure(ctx context.Context, n *seen) error {
	v, err := w.read(ctx, ua.AttributeIDValue, n.id)
	if err != nil {
		return err
	}
	n.lengths = []uint32{0}
	if d := v[0]; valueOf(d) != nil && d.Value.Has(ua.VariantArrayValues) {
		n.lengths = []uint32{uint32(max(d.Value.ArrayLength(), 0))}
		if dims := d.Value.ArrayDimensions(); len(dims) > 1 {
			n.lengths = nil
			for _, x := range dims {
				n.lengths = append(n.lengths, uint32(max(x, 0)))
			}
		}
	}
	return nil
}

// ofBase are the built-in data types, by their numbers in namespace 0.
var ofBase = map[uint32]model.Type{
	id.Boolean: model.Bool, id.SByte: model.Int64, id.Byte: model.Int64, id.Int16: model.Int64, id.UInt16: model.Int64, id.Int32: model.Int64,
	id.UInt32: model.Int64, id.Int64: model.Int64, id.UInt64: model.Uint64, id.Float: model.Float32, id.Double: model.Float64, id.String: model.String,
	id.DateTime: model.String, id.GUID: model.String, id.ByteString: model.Bytes, id.XMLElement: model.String, id.NodeID: model.String,
	id.ExpandedNodeID: model.String, id.StatusCode: model.Int64, id.QualifiedName: model.String, id.LocalizedText: model.String,
	id.Enumeration: model.Int64, id.Number: model.Float64, id.Integer: model.Int64, id.UInteger: model.Uint64,
}

// kindOf is what a data type is here: the built-in one that it is a subtype of, and the texts of an enumeration.
func (w *walk) kindOf(ctx context.Context, t *ua.NodeID, depth int) (k kind, err error) {
	if t == nil || depth > mostDepth {
		return kind{}, nil
	}
	if k, ok := w.kinds[t.String()]; ok {
		return k, nil
	}
	if typ, ok := ofBase[t.IntID()]; ok && t.Namespace() == 0 {
		return kind{typ: typ}, nil
	}
	req := &ua.BrowseRequest{View: &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)}, NodesToBrowse: []*ua.BrowseDescription{
		{NodeID: t, BrowseDirection: ua.BrowseDirectionInverse, ReferenceTypeID: ua.NewNumericNodeID(0, id.HasSubtype), ResultMask: uint32(ua.BrowseResultMaskAll)},
		{NodeID: t, BrowseDirection: ua.BrowseDirectionForward, ReferenceTypeID: ua.NewNumericNodeID(0, id.HasProperty), ResultMask: uint32(ua.BrowseResultMaskAll)},
	}}
	res, err := ask[*ua.BrowseResponse](ctx, w.conn, req)
	if err != nil {
		return kind{}, fmt.Errorf("browse data type %s: %w", t, err)
	}
	if len(res.Results) == 2 && res.Results[0] != nil && len(res.Results[0].References) > 0 && res.Results[0].References[0].NodeID != nil {
		if k, err = w.kindOf(ctx, ua.NewNodeIDFromExpandedNodeID(res.Results[0].References[0].NodeID), depth+1); err != nil {
			return kind{}, err
		}
		self := &seen{}
		for _, ref := range res.Results[1].References {
			w.follow(self, ref)
		}
		if self.states != nil {
			if k.states, err = w.statesOf(ctx, self.states); err != nil {
				return kind{}, err
			}
		}
	}
	w.kinds[t.String()] = k
	return k, nil
}

// statesOf are the texts of EnumStrings or EnumValues.
func (w *walk) statesOf(ctx context.Context, node *ua.NodeID) (map[int64]string, error) {
	v, err := w.read(ctx, ua.AttributeIDValue, node)
	if err != nil {
		return nil, err
	}
	out := map[int64]string{}
	switch x := valueOf(v[0]).(type) {
	case []*ua.LocalizedText:
		for i, t := range x {
			out[int64(i)] = text(t.Text)
		}
	case []*ua.ExtensionObject:
		for _, e := range x {
			if e == nil {
				continue
			}
			if t, ok := e.Value.(*ua.EnumValueType); ok && t.DisplayName != nil {
				out[t.Value] = text(t.DisplayName.Text)
			}
		}
	}
	return out, nil
}

// unit is the UCUM code of a variable's EngineeringUnits. One that is not known here goes into the description.
func (w *walk) unit(ctx context.Context, node *ua.NodeID, about string) (string, string, error) {
	if node == nil {
		return "", about, nil
	}
	v, err := w.read(ctx, ua.AttributeIDValue, node)
	if err != nil {
		return "", about, err
	}
	e, _ := valueOf(v[0]).(*ua.ExtensionObject)
	if e == nil {
		return "", about, nil
	}
	u, ok := e.Value.(*ua.EUInformation)
	if !ok {
		return "", about, nil
	}
	if code, ok := ucum[commonCode(u.UnitID)]; ok && u.NamespaceURI == "http://www.opcfoundation.org/UA/units/un/cefact" {
		return code, about, nil
	}
	if u.DisplayName != nil && u.DisplayName.Text != "" {
		about = strings.TrimSpace(about + " (in " + strings.TrimSpace(text(u.DisplayName.Text)) + ")")
	}
	return "", about, nil
}

// commonCode is the code of UN/CEFACT that a unit's number is made of (Part 8, 5.6.3).
func commonCode(n int32) string {
	b := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return string(b)
}

// ucum is the units of plants that UN/CEFACT and UCUM both have.
var ucum = map[string]string{
	"CEL": "Cel", "FAH": "[degF]", "KEL": "K", "BAR": "bar", "MBR": "mbar", "PAL": "Pa", "KPA": "kPa", "MPA": "MPa", "A97": "hPa", "PS": "[psi]", "MTR": "m",
	"CMT": "cm", "MMT": "mm", "4H": "um", "KMT": "km", "INH": "[in_i]", "FOT": "[ft_i]", "MTK": "m2", "MTQ": "m3", "LTR": "L", "MLT": "mL", "GLL": "[gal_us]",
	"KGM": "kg", "GRM": "g", "MGM": "mg", "TNE": "t", "LBR": "[lb_av]", "SEC": "s", "C26": "ms", "MIN": "min", "HUR": "h", "DAY": "d", "MTS": "m/s",
	"KMH": "km/h", "MQH": "m3/h", "MQS": "m3/s", "L2": "L/min", "KGS": "kg/s", "E93": "kg/h", "4W": "t/h", "AMP": "A", "4K": "mA", "VLT": "V", "KVT": "kV",
	"2Z": "mV", "OHM": "Ohm", "WTT": "W", "KWT": "kW", "MAW": "MW", "WHR": "W.h", "KWH": "kW.h", "MWH": "MW.h", "JOU": "J", "KJO": "kJ", "HTZ": "Hz",
	"KHZ": "kHz", "RPM": "{rpm}", "C62": "1", "P1": "%", "59": "[ppm]", "Q30": "[pH]", "DD": "deg", "C81": "rad", "NEW": "N", "NU": "N.m", "2N": "dB", "LUX": "lx",
}
