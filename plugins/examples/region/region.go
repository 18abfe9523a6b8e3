// Region says where a request comes from: a policy in Go, without an SDK.
//
// Configuration, text, one entry a line (without fmt and encoding/json the module is a third of the size):
//
//		# the header to write; default x-coditect-region
//		header x-coditect-region
//		10.1.0.0/16    eu-west
//		2001:db8::/32  us
//		default        other
//
//	  - The request gets the header with the region of the smallest network its source.address lies in, or else the
//	    default; without a default it then has no such header. What a client sent under that name never passes.
//	  - A region has 1 to 64 letters, digits and hyphens.
//
// The policy tenant-policy decides by that header.
package main

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Regions is a valid configuration.
type Regions struct {
	header   string
	networks map[netip.Prefix]string
	fallback string
}

// Parse checks a configuration.
func Parse(configuration string) (*Regions, error) {
	regions := &Regions{header: "x-coditect-region", networks: make(map[netip.Prefix]string)}
	number := 0
	for line := range strings.Lines(configuration) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := regions.entry(fields); err != nil {
			return nil, errors.New("line " + strconv.Itoa(number) + ": " + err.Error())
		}
	}
	if len(regions.networks) == 0 {
		return nil, errors.New("there is no network")
	}
	return regions, nil
}

func (r *Regions) entry(fields []string) error {
	if len(fields) != 2 {
		return errors.New("an entry is a network and a region, or header and a name, or default and a region")
	}
	key, value := fields[0], fields[1]
	switch {
	case key == "header" && isName(value):
		r.header = value
		return nil
	case key == "header":
		return errors.New(strconv.Quote(value) + " is no header's name; write it in lower case")
	case !isRegion(value):
		return errors.New(strconv.Quote(value) + " is no region; it has 1 to 64 letters, digits and hyphens")
	case key == "default":
		r.fallback = value
		return nil
	}
	network, err := netip.ParsePrefix(key)
	if err != nil {
		return errors.New(strconv.Quote(key) + " is no network; write 10.0.0.0/8 or 2001:db8::/32")
	}
	if network != network.Masked() {
		return errors.New(key + " has bits beyond its prefix; did you mean " + network.Masked().String() + "?")
	}
	if _, twice := r.networks[network]; twice {
		return errors.New("there are two regions for " + key)
	}
	r.networks[network] = value
	return nil
}

// Of is the region of a source.address, which is an address with or without a port; empty where there is none.
func (r *Regions) Of(source string) string {
	address, err := netip.ParseAddr(source)
	if err != nil {
		withPort, err := netip.ParseAddrPort(source)
		if err != nil {
			return r.fallback
		}
		address = withPort.Addr()
	}
	address = address.Unmap()
	region, longest := r.fallback, -1
	for network, name := range r.networks {
		if network.Bits() > longest && network.Contains(address) {
			region, longest = name, network.Bits()
		}
	}
	return region
}

const lower = "abcdefghijklmnopqrstuvwxyz0123456789-"

func isRegion(text string) bool {
	return len(text) <= 64 && consistsOf(text, lower+"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

func isName(text string) bool {
	return consistsOf(text, lower+"_")
}

func consistsOf(text, characters string) bool {
	return text != "" && strings.Trim(text, characters) == ""
}
