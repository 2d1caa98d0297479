import { createRouter, createWebHistory } from 'vue-router'
import { useSession } from './session'

declare module 'vue-router' {
  interface RouteMeta {
    /** May be seen without signing in. */
    open?: boolean
    /** Fills the window instead of scrolling as a page. */
    full?: boolean
  }
}

export const router = createRouter({
  history: createWebHistory(),
  scrollBehavior: () => ({ top: 0 }),
  routes: [
    { path: '/', redirect: '/lessons' },
    { path: '/sign-in', name: 'sign-in', component: () => import('./pages/SignIn.vue'), meta: { open: true } },
    { path: '/lessons', name: 'lessons', component: () => import('./pages/Lessons.vue') },
    { path: '/lessons/:lesson_id/ready', name: 'ready', component: () => import('./pages/Ready.vue'), props: true },
    { path: '/lessons/:lesson_id/class', name: 'classroom', component: () => import('./pages/Classroom.vue'), props: true, meta: { full: true } },
    { path: '/lessons/:lesson_id/studio', name: 'studio', component: () => import('./pages/Studio.vue'), props: true, meta: { full: true } },
    { path: '/lessons/:lesson_id/wall', name: 'wall', component: () => import('./pages/Wall.vue'), props: true, meta: { full: true } },
    { path: '/lessons/:lesson_id/scores', name: 'scores', component: () => import('./pages/Scores.vue'), props: true },
    { path: '/lessons/:lesson_id/credit', name: 'credit', component: () => import('./pages/MyCredit.vue'), props: true },
    { path: '/classes', name: 'classes', component: () => import('./pages/Classes.vue') },
    { path: '/classes/:class_id', name: 'class', component: () => import('./pages/ClassDetail.vue'), props: true },
    { path: '/face', name: 'face', component: () => import('./pages/FaceData.vue') },
    { path: '/:rest(.*)*', name: 'not-found', component: () => import('./pages/NotFound.vue'), meta: { open: true } },
  ],
})

router.beforeEach(async (to) => {
  if (to.meta.open) return true
  const session = useSession()
  try {
    if (await session.load()) return true
  } catch {
    // The server cannot be asked: the page itself will say so where it loads its data.
    return true
  }
  return { name: 'sign-in', query: { to: to.fullPath } }
})
