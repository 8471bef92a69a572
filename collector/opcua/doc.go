// Package opcua is a source of the collector that subscribes to variables of OPC UA servers.
//
//	addresses → monitored items of one subscription → publish → data values → readings
//	outage → the session or the subscription is taken over, what was not acknowledged comes again (Republish)
//	       → or all is created anew, and the window that is missing is read from the server's history
//
// An address is a node id, "ns=2;s=Boiler.FT101" or "nsu=http://plant/;s=Boiler.FT101", with [i] behind it for an element of an array. The source
// reads and never writes, in a process of its own ([collector.Kind]). Times are those of the server's sources; qualities are their status codes, all 32 bits of them.
//
// # The parts
//
//	settings.go   what a configuration says
//	address.go    node ids, and namespaces that move
//	value.go      what a data value becomes
//	pki.go        the client's own certificate, and which servers' are trusted
//	trust.go      what people decide about them
//	conn.go       a session with a server
//	run.go        a run of the source: connect, subscribe, publish, go over to another server
//	history.go    what was missed, from the server's history
//	browse.go     what a server offers
package opcua
