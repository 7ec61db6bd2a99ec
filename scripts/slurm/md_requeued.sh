#!/bin/bash
# Dynamics longer than a job may be. Two minutes before the time is over SLURM sends SIGTERM; mmtp
# writes its checkpoint and ends with status 143, and the job goes back into the queue and on from
# there. The same script serves the first start.
#
#   sbatch scripts/slurm/md_requeued.sh md.toml        (checkpoint = "md.npz" in [output])
#SBATCH --job-name=mmtp-md
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

# In the background, because bash answers a signal only when the command in front is over.
mmtp md --settings "${1:-md.toml}" --resume &
program=$!
trap 'kill -TERM "$program"' TERM
wait "$program"
status=$?
# A signal ends the wait, not the program.
while kill -0 "$program" 2> /dev/null; do
    wait "$program"
    status=$?
done
if [ "$status" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
