//go:build wasip1

package main

import (
	"errors"

	"coditect.ai/plugins/region/proxywasm"
)

type policy struct {
	regions *Regions
}

func init() {
	proxywasm.Register(&policy{})
}

// main is never called in a library, and has to exist.
func main() {}

func (p *policy) Configure(configuration []byte) error {
	regions, err := Parse(string(configuration))
	if err != nil {
		return errors.New("region: " + err.Error())
	}
	p.regions = regions
	return nil
}

func (p *policy) RequestHeaders() proxywasm.Action {
	source, _ := proxywasm.Property("source", "address")
	region := p.regions.Of(source)
	if region == "" {
		proxywasm.RemoveRequestHeader(p.regions.header)
	} else if status := proxywasm.SetRequestHeader(p.regions.header, region); status != proxywasm.OK {
		proxywasm.Log(proxywasm.Error, "region: the edge does not let a plugin write "+p.regions.header)
	}
	return proxywasm.Continue
}
