package sparkplug

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Namespace is the first level of every topic.
const Namespace = "spBv1.0"

// Topic is where a message was published: spBv1.0/group/type/node or spBv1.0/group/type/node/device.
type Topic struct {
	Group, Type, Node, Device string
}

// ParseTopic reads a topic of a node or a device.
func ParseTopic(topic string) (t Topic, err error) {
	rest, ok := strings.CutPrefix(topic, Namespace+"/")
	if !ok {
		return t, fmt.Errorf("topic %q: does not begin with %s/", topic, Namespace)
	}
	if !utf8.ValidString(topic) {
		return t, fmt.Errorf("topic %q: is not UTF-8", topic)
	}
	levels := 0
	for more := true; more; levels++ {
		var level string
		if level, rest, more = strings.Cut(rest, "/"); level == "" {
			return t, fmt.Errorf("topic %q: a level is empty", topic)
		}
		switch levels {
		case 0:
			t.Group = level
		case 1:
			t.Type = level
		case 2:
			t.Node = level
		case 3:
			t.Device = level
		}
	}
	if levels < 3 || levels > 4 {
		return t, fmt.Errorf("topic %q: has %d levels, must be %s/group/type/node or %s/group/type/node/device", topic, levels+1, Namespace, Namespace)
	}
	switch t.Type {
	case "NBIRTH", "NDATA", "NDEATH", "NCMD":
		if t.Device != "" {
			return t, fmt.Errorf("topic %q: %s is of a node, not of a device", topic, t.Type)
		}
	case "DBIRTH", "DDATA", "DDEATH", "DCMD":
		if t.Device == "" {
			return t, fmt.Errorf("topic %q: %s needs a device", topic, t.Type)
		}
	default:
		return t, fmt.Errorf("topic %q: %q is no type of message", topic, t.Type)
	}
	return t, nil
}

// Address is how a metric of a device is named: group/node/device/metric, with nothing between two slashes for a metric of the node itself.
func (t Topic) Address(metric string) string {
	return t.Group + "/" + t.Node + "/" + t.Device + "/" + metric
}

// StateTopic is the topic on which a host says whether it is there.
func StateTopic(host string) string { return Namespace + "/STATE/" + host }
