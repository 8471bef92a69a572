// Package sparkplug is a host application of Sparkplug B 3.0: it makes readings, gaps and requests out of the messages of edge nodes.
//
//	topic, payload, time → Decode → Host.Receive → the order of messages → tables of births → readings, definitions, gaps → Out
//
// A Host has no connection, no clock and no goroutine: it is fed, and answers through Out before it returns. So a test drives a week of faults
// in a second, and a recorded session gives the same output again.
//
// # What is never done
//
// A value is not given to a metric by an alias that may have changed: after a message is found missing, aliases are unknown until the next
// birth. A message is not taken twice. Nothing is sent but STATE and the request for a rebirth, and that can be turned off.
//
// # What is said
//
// While a node or a device is dead or unknown all its metrics stand under an open gap, which the next birth ends. Messages missed are a gap of
// their own, from the publication of the one before to that of the one behind.
package sparkplug
