module coditect.ai/plugins/region

go 1.24
