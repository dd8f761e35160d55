//go:build !wasip1

// Package abi is empty outside of a component.
package abi
