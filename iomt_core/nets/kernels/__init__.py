"""Encoder, GRU and the two layers behind them as compiled kernels, for learning and deciding on a CPU.

Written with tensors, a block of many small networks passes through memory once an operation, and half of an update is spent
outside of its products. Here a chunk of one network's rows goes through a whole block, forward or backward, in cache. The
mathematics is that of the modules in the folder above, which do the work wherever a kernel cannot: without a C++ compiler, on a
GPU and in other precisions. A task's turn in a joint decision has a kernel too, for there the calls take longer than the work.
"""
