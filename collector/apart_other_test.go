//go:build !linux

package collector

func runCollectorToKill(string) {}
