import main, { total } from './main.mjs'
export const back = () => `${main.name} ${total}`
