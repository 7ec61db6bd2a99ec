#!/bin/bash
# A fit on all GPUs of several nodes: one process per GPU, joined by jax.distributed, which finds
# out from SLURM who they are. Every process reads the data; the first one writes and prints.
#
#   sbatch scripts/slurm/fit_several_gpus.sh fit.toml
#
# A job that is cut off goes on at its checkpoint when it is submitted again (checkpoint in [fit]),
# also on another number of GPUs. Ctrl-C (scancel --signal=INT) ends the fit with the best so far.
#SBATCH --job-name=mmtp-fit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log

# A process that fails must not leave the others waiting.
srun --kill-on-bad-exit=1 mmtp fit --settings "${1:-fit.toml}" --distributed
