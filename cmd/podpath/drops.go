package main

import "github.com/spf13/cobra"

func (a *app) dropsCommand() *cobra.Command { return &cobra.Command{Use: "drops"} }
