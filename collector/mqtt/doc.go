// Package mqtt collects from MQTT brokers, in version 5.0 or 3.1.1: values in JSON and text by the rules of a configuration, and Sparkplug B
// as its host application.
//
//	broker → packet.Read → rules, or sparkplug.Host → readings → Sink → (on disk) → PUBACK
//
// One Run is one connection. When it breaks Run says so and returns; the collector calls it again. What was learnt of nodes, and that tags are
// under a gap, stays from one Run to the next.
//
// # What it promises
//
// With a session that the broker keeps, a message of QoS 1 is acknowledged when its readings are on disk, and not before: what a crash takes
// the broker sends again. Nothing is published but the host's STATE and requests for rebirths, both of Sparkplug.
//
// # The parts
//
//	config.go      what the configuration says
//	topic.go       filters with names in them
//	value.go       JSON and text to values and times
//	rules.go       messages to readings
//	client.go      one connection
//	source.go      Run, Check, Browse
//	sparkplug.go   between sparkplug.Host and the collector
package mqtt
