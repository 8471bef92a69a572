package sparkplug

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/varvedb/varve/model"
)

// maxAttributes is how many properties and parameters of one address are kept.
const maxAttributes = 64

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// properties takes what a metric says of itself.
func (d *Definition) properties(x *Metric) {
	if x.Metadata != nil && utf8.ValidString(x.Metadata.Description) {
		d.Description = x.Metadata.Description
	}
	for i := range x.Properties {
		p := &x.Properties[i]
		s, err := p.Value.Scalar(p.Datatype)
		if p.Null || err != nil || s.Type == model.Bytes || !utf8.ValidString(p.Key) {
			continue
		}
		// Sparkplug names no property but the quality; these are the names that edge nodes in use write.
		switch strings.Map(func(r rune) rune {
			if r == ' ' || r == '_' {
				return -1
			}
			return r
		}, strings.ToLower(p.Key)) {
		case "quality":
		case "engunit", "engunits", "engineeringunit", "engineeringunits", "unit", "units":
			d.Unit = text(s)
		case "documentation", "description", "tooltip":
			d.Description = text(s)
		case "englow":
			d.Low = number(s)
		case "enghigh":
			d.High = number(s)
		default:
			d.attribute(p.Key, text(s))
		}
	}
}

func (d *Definition) attribute(name, value string) {
	if name == "" || len(d.Attributes) >= maxAttributes {
		return
	}
	if d.Attributes == nil {
		d.Attributes = map[string]string{}
	}
	d.Attributes[name] = value
}

// maxDefinitions is how many definitions of templates are kept of one node.
const maxDefinitions = 1000

// define keeps the parameters of a definition: what instances leave out is as it says.
func (n *node) define(name string, t *Template) {
	if len(n.definitions) >= maxDefinitions || len(t.Parameters) == 0 {
		return
	}
	own := Definition{}
	own.parameters(t.Parameters)
	n.definitions[name] = own.Attributes
}

func (d *Definition) parameters(parameters []Parameter) {
	for i := range parameters {
		p := &parameters[i]
		if s, err := p.Value.Scalar(p.Datatype); err == nil && s.Type != model.Bytes && utf8.ValidString(p.Name) {
			d.attribute(p.Name, text(s))
		}
	}
}

// parameters takes the parameters of an instance, and of its definition what the instance leaves out.
func (n *node) parameters(t *Template, to *Definition) {
	if t.Ref == "" || !utf8.ValidString(t.Ref) {
		return
	}
	to.attribute("template", t.Ref)
	if t.Version != "" && utf8.ValidString(t.Version) {
		to.attribute("template_version", t.Version)
	}
	of := n.definitions[t.Ref]
	for _, name := range sorted(of) {
		to.attribute(name, of[name])
	}
	to.parameters(t.Parameters)
}

// text is a value as an attribute has it.
func text(s model.Sample) string {
	switch s.Type {
	case model.Bool:
		return strconv.FormatBool(s.Bits != 0)
	case model.Int64:
		return strconv.FormatInt(int64(s.Bits), 10)
	case model.Uint64:
		return strconv.FormatUint(s.Bits, 10)
	case model.Float32:
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(s.Bits))), 'g', -1, 32)
	case model.Float64:
		return strconv.FormatFloat(math.Float64frombits(s.Bits), 'g', -1, 64)
	}
	return string(s.Blob)
}

func number(s model.Sample) *float64 {
	f, ok := s.Float64()
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// qualityProperty is the property that says how good a value is.
func qualityProperty(properties []Property) *Property {
	for i := range properties {
		if strings.EqualFold(properties[i].Key, "quality") {
			return &properties[i]
		}
	}
	return nil
}

// qualityOf is the quality of a value: Good where the metric says nothing of it, as the specification has it. Beside its three codes there are
// senders that write those of OPC DA, below 256, and their own above.
func qualityOf(properties []Property) (q model.Quality, stated bool) {
	p := qualityProperty(properties)
	if p == nil || p.Null || p.Value.Kind != Int && p.Value.Kind != Long {
		return model.Good, false
	}
	switch code := p.Value.Bits; {
	case code == 500:
		return model.UncertainLastUsableValue, true
	case code >= 256:
		return model.Bad, true
	case code >= 192:
		return model.Good, true
	case code >= 64 && code < 128:
		return model.Uncertain, true
	}
	return model.Bad, true
}
