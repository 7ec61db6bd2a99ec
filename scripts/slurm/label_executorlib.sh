#!/bin/bash
# Labels from DFT inside of one SLURM job: executorlib keeps so many workers busy as there are tasks,
# each a step (srun) with cores of its own, in which the DFT code runs.
#
#   sbatch scripts/slurm/label_executorlib.sh selected.cfg abinit.toml labelled.extxyz
#
# In abinit.toml the command must start as many processes as a step has cores, e.g.
# "mpirun -n 16 abinit". The same command goes on after the time was over.
#SBATCH --job-name=mmtp-label
#SBATCH --nodes=2
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log

cat > executor.toml <<TOML
[executor]
kind = "executorlib"
place = "allocation"
workers = ${SLURM_NTASKS}
cores = ${SLURM_CPUS_PER_TASK}
TOML

mmtp label "$1" --oracle "$2" -o "$3" --executor executor.toml
