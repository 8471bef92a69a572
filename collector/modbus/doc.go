// Package modbus is a source of the collector that polls registers and bits of Modbus devices, over TCP, TLS, UDP and serial lines.
//
//	addresses → points → groups, each one request → poll → values → readings
//
// An address says where a value lies and how it is read: "holding:100:float32:cdab@5s". The source reads and never writes: there is no
// function code of writing in it. A device that does not answer is down, with a gap; a register that a device does not have is Bad for
// itself, and is read apart from its neighbours from then on.
package modbus
