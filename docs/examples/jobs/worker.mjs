// A worker: `node worker.mjs JOB`. It tells of its progress and of each line of its log, and knows nothing of who looks on.
import { setTimeout } from 'node:timers/promises'
import { publish } from './events.mjs'

const job = process.argv[2]
const STEPS = ['Read the orders', 'Check the addresses', 'Sort by country', 'Calculate the taxes', 'Draw the charts', 'Write the report', 'Compress', 'Upload']

for (const [index, step] of STEPS.entries()) {
  await publish(job, `log-${index}`, 'job.log', { line: `${step} …` })
  await setTimeout(500) // the work
  await publish(job, `progress-${index}`, 'job.progress', { percent: Math.round(((index + 1) / STEPS.length) * 100) })
}
