module github.com/podpath/podpath/testbed/tools/pause

go 1.26.0
